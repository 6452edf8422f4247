//! Whether a figure that is looked at again and again grows.

/// By what part of itself a figure grows from one look to the next: the median of the slopes between any two looks (Theil and Sen), which a few looks at a bad moment
/// do not move. 0 for fewer than two.
pub fn growth(looks: &[u64]) -> f64 {
    let mut slopes: Vec<f64> = Vec::new();
    for (later, figure) in looks.iter().enumerate() {
        for (earlier, before) in looks[..later].iter().enumerate() {
            slopes.push((*figure as f64 - *before as f64) / (later - earlier) as f64);
        }
    }
    let mut all: Vec<f64> = looks.iter().map(|figure| *figure as f64).collect();
    match (median(&mut slopes), median(&mut all)) {
        (Some(slope), Some(middle)) if middle > 0.0 => slope / middle,
        _ => 0.0,
    }
}

fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_growth_is_told_from_noise_and_from_a_single_step() {
        let looks = |part: f64| -> Vec<u64> {
            let noise = [40.0, -70.0, 10.0, 90.0, -30.0, -80.0, 60.0, 20.0, -10.0, 50.0];
            noise.iter().enumerate().map(|(look, noise)| 7500.0 * (1.0 + part * look as f64) + noise).map(|kb| kb as u64).collect()
        };
        assert!(growth(&looks(0.0)).abs() < 0.002, "{}", growth(&looks(0.0)));
        assert!((0.008..0.012).contains(&growth(&looks(0.01))), "{}", growth(&looks(0.01)));
        let mut step = vec![7500; 7];
        step.extend([7900; 2]);
        assert!(growth(&step) < 0.002, "{}", growth(&step));
        assert_eq!((growth(&[]), growth(&[7])), (0.0, 0.0));
    }
}
