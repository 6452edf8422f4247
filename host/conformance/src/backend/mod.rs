//! The rules for backends: the same questions in two instances, and the answers before the policy.

mod peers;
mod purity;

use std::time::{Duration, Instant};

use serde_json::Value;
use twill_model::state::Road;
use twill_model::{Item, Lease, Way};
use twill_plugin::{Backends, Inspected, Plugins, Refusals};
use twill_reconcile::policy::LEAST_MTU;
use twill_reconcile::ports::{Base, Context, PlanError};

use crate::law::{Plan, judge, words};
use crate::question::{Answer, Question};
use crate::report::{Findings, Miss, Verdict, broken, kept_unless};
use crate::sample::{self, Families, ON_LINK, UNDERLAY_MTU};
use crate::{Wishes, listening, rules, schema};

/// Peers of the timed plan.
pub const PEERS: u16 = 5_000;
/// Peers of the plan that policy looks at.
const LOOKED_AT: u16 = 12;

/// One backend with what it said of itself so far.
pub(crate) struct Asked<'a> {
    planners: [Backends; 2],
    kind: &'a str,
    families: Families,
    options: &'a str,
    way: Way,
}

/// Puts all rules to the backend that was loaded twice.
pub(crate) async fn check(plugins: &[Plugins; 2], inspected: &Inspected, wishes: &Wishes, findings: &mut Findings) {
    let kind = inspected.kind.as_deref().unwrap_or_default();
    let planners = [plugins[0].planner(Refusals::default()), plugins[1].planner(Refusals::default())];
    let options = with_type(&wishes.options, kind);
    put!(wishes, findings, REFUSES_WRONG_OPTIONS, refuses_wrong_options(&planners[0], kind, &inspected.schema, &options).await);
    let (families, way) = match advertised(&planners[0], kind, &options).await {
        Ok(found) => found,
        Err(miss) => {
            findings.take(&rules::ADVERTISES, Err(miss));
            return;
        }
    };
    let asked = Asked { planners, kind, families, options: &options, way };
    put!(wishes, findings, ADVERTISES, asked.advertises());
    put!(wishes, findings, KEEPS_ITS_WAY, asked.keeps_its_way().await);
    let questions = asked.questions().await;
    let answers = asked.answers(0, &questions).await;
    put!(wishes, findings, KEEPS_SECRETS, purity::keeps_secrets(&asked, &questions, &answers));
    put!(wishes, findings, REPEATABLE, purity::repeatable(&asked, &questions, &answers).await);
    put!(wishes, findings, SAME_EVERYWHERE, purity::same_everywhere(&asked, &questions, &answers).await);
    put!(wishes, findings, LAWFUL, asked.lawful(&plugins[0]).await);
    put!(wishes, findings, BEARS_ANY_PEER, peers::bears_any(&asked).await);
    put!(wishes, findings, POD_MTU, asked.pod_mtu().await);
    put!(wishes, findings, QUICK, asked.quick(&plugins[0], &inspected.status.imports, wishes.within).await);
}

/// The options as a config holds them: with the backend's type.
pub(crate) fn with_type(options: &str, kind: &str) -> String {
    match serde_json::from_str(options) {
        Ok(Value::Object(mut map)) => {
            map.entry("Type").or_insert_with(|| kind.into());
            Value::Object(map).to_string()
        }
        _ => options.into(),
    }
}

/// The way in the first kind of cluster that the backend is for.
///
/// # Errors
/// It is for none of them, in its own words.
pub(crate) async fn advertised(planner: &Backends, kind: &str, options: &str) -> Result<(Families, Way), Miss> {
    let mut refusals = Vec::new();
    for families in Families::ALL {
        match advertise(kind, families, 1, options, None).ask(planner, kind).await {
            Answer::Way(way) => return Ok((families, way)),
            other => refusals.push(format!("in a cluster of {}: {}", families.words(), other.words())),
        }
    }
    Err(Miss::Broken(refusals))
}

fn advertise(kind: &str, families: Families, number: u16, options: &str, previous: Option<Way>) -> Question {
    let node = Box::new(sample::node(number, UNDERLAY_MTU));
    Question::Advertise { network: sample::network(families, kind), node, options: options.into(), previous }
}

async fn refuses_wrong_options(planner: &Backends, kind: &str, json_schema: &str, valid: &str) -> Verdict {
    let wrong = schema::forbidden(json_schema, valid);
    let mut faults = Vec::new();
    for (name, options) in &wrong {
        let mut answers = Vec::new();
        for families in Families::ALL {
            answers.push(advertise(kind, families, 1, options, None).ask(planner, kind).await);
        }
        // In one kind of cluster or another it must say so; where it is not for such a cluster at all it may say that first.
        if let Some(failed) = answers.iter().find(|answer| answer.failure().is_some()) {
            faults.push(format!("{name}: {options} made it fail: {}", failed.words()));
        } else if let Some(taken) = answers.iter().find(|answer| matches!(answer, Answer::Way(_))) {
            faults.push(format!("{name}: {options} was taken, and made {}", taken.words()));
        } else if !answers.iter().any(|answer| matches!(answer, Answer::Refused(PlanError::Invalid(_)))) {
            faults.push(format!("{name}: {options} is called unsuitable and not invalid: {}", answers[0].words()));
        }
    }
    if wrong.is_empty() {
        return Err(Miss::Skipped("its schema has no options that could be wrong".into()));
    }
    kept_unless(faults, format!("{} wrong options refused", wrong.len()))
}

impl Asked<'_> {
    fn context(&self, primary: bool) -> Context {
        sample::context(self.families, &self.way, primary)
    }

    fn advertises(&self) -> Verdict {
        let mut faults = Vec::new();
        let Way { backend, options, data_v4, data_v6 } = &self.way;
        if backend != self.kind {
            faults.push(format!("its way is of the type {backend:?}, and it calls itself {:?}", self.kind));
        }
        if !matches!(serde_json::from_str(options), Ok(Value::Object(_))) {
            faults.push(format!("the way's options {options:?} are no JSON object"));
        }
        for data in [data_v4, data_v6].into_iter().flatten() {
            if let Err(error) = serde_json::from_str::<Value>(data) {
                faults.push(format!("its data {data:?} is no JSON ({error}); flannel nodes could not read it"));
            }
        }
        kept_unless(faults, format!("a way for {}", self.families.words()))
    }

    async fn keeps_its_way(&self) -> Verdict {
        let question = advertise(self.kind, self.families, 1, self.options, Some(self.way.clone()));
        match question.ask(&self.planners[1], self.kind).await {
            Answer::Way(again) if again == self.way => Ok("published again as it was".into()),
            other => Err(broken(format!("it published {}, and then {}", Answer::Way(self.way.clone()).words(), other.words()))),
        }
    }

    /// The way that the node of that number would publish.
    async fn way_of(&self, number: u16) -> Way {
        match advertise(self.kind, self.families, number, self.options, None).ask(&self.planners[0], self.kind).await {
            Answer::Way(way) => way,
            _ => self.way.clone(),
        }
    }

    async fn peer(&self, number: u16) -> Lease {
        sample::lease(number, self.families, vec![self.way_of(number).await]).timeless()
    }

    /// Well-formed questions, as a cluster of today would put them.
    async fn questions(&self) -> Vec<Question> {
        let mut all = vec![advertise(self.kind, self.families, 1, self.options, None)];
        for primary in [true, false] {
            let context = Box::new(self.context(primary));
            all.push(Question::Local(context.clone()));
            for number in 2..=LOOKED_AT {
                let peer = Box::new(self.peer(number).await);
                for road in [ON_LINK, sample::ROUTED, sample::NO_ROAD] {
                    all.push(Question::SendTo(context.clone(), peer.clone(), peer.ways[0].clone(), road));
                }
                all.push(Question::ReceiveFrom(context.clone(), peer));
            }
        }
        all
    }

    /// The answers of instance `which`, in the order of the questions.
    async fn answers(&self, which: usize, questions: &[Question]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for question in questions {
            answers.push(question.ask(&self.planners[which], self.kind).await);
        }
        answers
    }

    async fn lawful(&self, plugins: &Plugins) -> Verdict {
        let (refusals, told) = listening();
        let planner = plugins.planner(refusals);
        let (mut faults, mut good) = (Vec::new(), 0);
        for (primary, road) in [(true, ON_LINK), (true, sample::ROUTED), (false, ON_LINK), (false, sample::ROUTED)] {
            let context = self.context(primary);
            let local = match Question::Local(Box::new(context.clone())).ask(&planner, self.kind).await {
                Answer::Base(Base { items, .. }) => items,
                other => return Err(broken(format!("local has no answer: {}", other.words()))),
            };
            let mut plan = Plan { local, peers: vec![] };
            for number in 2..=LOOKED_AT {
                let peer = self.peer(number).await;
                let items = per_peer(&planner, self.kind, &context, &peer, road).await;
                plan.peers.push((peer, items));
            }
            let judgement = judge(&context, sample::networks(self.families), &plan);
            good += judgement.desired.len();
            faults.extend(judgement.refused.iter().map(words));
        }
        faults.extend(told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..));
        faults.sort();
        faults.dedup();
        kept_unless(faults, format!("{good} items in four plans for {} peers, none refused", LOOKED_AT - 1))
    }

    async fn pod_mtu(&self) -> Verdict {
        let (mut faults, mut seen) = (Vec::new(), Vec::new());
        for mtu in [UNDERLAY_MTU, 9_000, 1_400] {
            let mut context = self.context(true);
            context.node.underlay.mtu = mtu;
            match Question::Local(Box::new(context)).ask(&self.planners[0], self.kind).await {
                Answer::Base(base) if (LEAST_MTU..=mtu).contains(&base.pod_mtu) => seen.push(format!("{} of {mtu}", base.pod_mtu)),
                Answer::Base(base) => faults.push(format!("on an underlay of {mtu} bytes it promises {}", base.pod_mtu)),
                other => faults.push(format!("on an underlay of {mtu} bytes: {}", other.words())),
            }
        }
        kept_unless(faults, seen.join(", "))
    }

    /// Computing time is what the plugin is charged, so that a busy machine does not count against it.
    async fn quick(&self, plugins: &Plugins, imports: &[String], within: Option<Duration>) -> Verdict {
        let slow_language = imports.iter().any(|import| import.starts_with("wasi:"));
        let within = within.unwrap_or(Duration::from_secs(if slow_language { 10 } else { 1 }));
        let (context, over) = (self.context(true), self.way_of(2).await);
        let charged = || plugins.inspect().first().map_or(0, |inspected| inspected.status.guest_us);
        let (before, started) = (charged(), Instant::now());
        for number in 2..PEERS + 2 {
            let peer = Box::new(sample::lease(number, self.families, vec![over.clone()]).timeless());
            let send = Question::SendTo(Box::new(context.clone()), peer.clone(), over.clone(), ON_LINK);
            let receive = Question::ReceiveFrom(Box::new(context.clone()), peer);
            for question in [send, receive] {
                if let Some(why) = question.ask(&self.planners[0], self.kind).await.failure() {
                    return Err(broken(format!("{}: {why}", question.words())));
                }
            }
        }
        let took = Duration::from_micros(charged() - before);
        let seen = format!("{PEERS} peers in {took:.2?} of computing ({:.2?} in all), {within:.0?} allowed", started.elapsed());
        if took <= within { Ok(seen) } else { Err(broken(seen)) }
    }
}

/// What one peer brings, both ways; refusals bring nothing.
pub(crate) async fn per_peer(planner: &Backends, kind: &str, context: &Context, peer: &Lease, road: Road) -> Vec<Item> {
    let over = peer.ways.first().cloned();
    let send = over.map(|over| Question::SendTo(Box::new(context.clone()), Box::new(peer.clone()), over, road));
    let receive = Question::ReceiveFrom(Box::new(context.clone()), Box::new(peer.clone()));
    let mut items = Vec::new();
    for question in send.into_iter().chain([receive]) {
        if let Answer::Items(more) = question.ask(planner, kind).await {
            items.extend(more);
        }
    }
    items
}
