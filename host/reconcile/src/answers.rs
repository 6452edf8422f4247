//! Answers that backends gave, remembered by their inputs, and questions that a plugin failed on.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::ports::PlanError;

/// Questions that a plugin failed on, by their inputs. Each waits by itself, so that a lease that makes a plugin trap cannot keep it from answering for others.
#[derive(Debug, Default)]
pub(crate) struct Failing(HashMap<u64, Failed>);

#[derive(Debug)]
struct Failed {
    why: PlanError,
    wait: Duration,
    until: Instant,
}

/// The first wait before a question is asked again, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(crate) struct Memo<T> {
    inputs: u64,
    answer: Result<T, PlanError>,
}

pub(crate) enum Recalled<T> {
    /// The answer to these inputs.
    Fresh(T),
    /// The plugin failed; this is what it said last.
    LastGood(T, PlanError),
    /// It refused, or failed before it ever answered.
    Nothing(PlanError),
}

/// Answers from memory when the inputs are the same; else asks. A failure of the plugin itself takes no answer's place, and is asked about again later.
pub(crate) async fn recall<K: Eq + Hash, T: Clone>(
    memory: &mut HashMap<K, Memo<T>>,
    failing: &mut Failing,
    key: K,
    inputs: u64,
    ask: impl Future<Output = Result<T, PlanError>>,
) -> Recalled<T> {
    if let Some(memo) = memory.get(&key).filter(|memo| memo.inputs == inputs) {
        return spoken(memo.answer.clone());
    }
    let answer = match failing.still(inputs) {
        Some(why) => Err(why),
        None => failing.note(inputs, ask.await),
    };
    if let Err(why @ (PlanError::Plugin(_) | PlanError::Absent(_) | PlanError::Resting(_))) = answer {
        return match memory.get(&key) {
            Some(Memo { answer: Ok(last), .. }) => Recalled::LastGood(last.clone(), why),
            _ => Recalled::Nothing(why),
        };
    }
    memory.insert(key, Memo { inputs, answer: answer.clone() });
    spoken(answer)
}

fn spoken<T>(answer: Result<T, PlanError>) -> Recalled<T> {
    match answer {
        Ok(answer) => Recalled::Fresh(answer),
        Err(why) => Recalled::Nothing(why),
    }
}

pub(crate) fn fingerprint(inputs: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    hasher.finish()
}

impl Failing {
    /// Why the question failed, while it is not to be asked again.
    fn still(&self, inputs: u64) -> Option<PlanError> {
        let failed = self.0.get(&inputs).filter(|failed| failed.until > Instant::now())?;
        Some(failed.why.clone())
    }

    fn note<T>(&mut self, inputs: u64, answer: Result<T, PlanError>) -> Result<T, PlanError> {
        let before = self.0.remove(&inputs);
        if let Err(why @ PlanError::Plugin(_)) = &answer {
            let wait = before.map_or(FIRST_WAIT, |before| (before.wait * 2).min(LONGEST_WAIT));
            self.0.insert(inputs, Failed { why: why.clone(), wait, until: Instant::now() + wait });
        }
        answer
    }

    pub(crate) fn next(&mut self, now: Instant) -> Option<Instant> {
        self.0.retain(|_, failed| failed.until + LONGEST_WAIT > now);
        self.0.values().map(|failed| failed.until).filter(|until| *until > now).min()
    }
}
