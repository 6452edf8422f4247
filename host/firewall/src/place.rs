//! Where in a chain of somebody else a rule stands that leads into one of ours: behind all that its owner decides, and before a rule behind which
//! nothing is reached.

/// What a rule of the chain is for that question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// It leads into our chain, without conditions.
    Entrance,
    /// Nothing behind it is reached.
    End,
    /// Anything else.
    Other,
}

/// True when exactly one rule leads into our chain, and it is reached.
pub(crate) fn stands_well(lines: &[Line]) -> bool {
    let entrances = lines.iter().filter(|line| **line == Line::Entrance).count();
    let before = lines.iter().take_while(|line| **line != Line::Entrance);
    entrances == 1 && before.clone().all(|line| *line == Line::Other)
}

/// Before which of the lines, without the entrances, the rule belongs; none for behind all.
pub(crate) fn belongs_before(lines: &[Line]) -> Option<usize> {
    lines.iter().filter(|line| **line != Line::Entrance).position(|line| *line == Line::End)
}

#[cfg(test)]
mod tests {
    use super::Line::{End, Entrance, Other};
    use super::*;

    #[test]
    fn one_entrance_that_is_reached_stands_well_wherever_it_is() {
        for good in [&[Entrance][..], &[Other, Entrance, Other], &[Other, Entrance, End]] {
            assert!(stands_well(good), "{good:?}");
        }
        for bad in [&[][..], &[Other], &[Entrance, Other, Entrance], &[End, Entrance], &[Other, End, Entrance, Other]] {
            assert!(!stands_well(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_new_one_goes_behind_what_others_decide_and_before_the_end() {
        assert_eq!(belongs_before(&[Other, Other]), None);
        assert_eq!(belongs_before(&[Other, End, Other, End]), Some(1));
        assert_eq!(belongs_before(&[Entrance, Other, End]), Some(1));
    }
}
