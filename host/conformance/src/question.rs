//! Questions to a backend as values, so that the same ones can be put to several instances, in any order, and the answers compared.

use std::time::Duration;

use twill_model::node::Node;
use twill_model::state::Road;
use twill_model::{Item, Lease, Way};
use twill_reconcile::ports::{Base, Context, Network, PlanError, Planner};

/// How long to wait for a plugin that rests after a failure, and how often.
const REST: Duration = Duration::from_millis(150);
const RESTS: usize = 4;

/// One call of a backend with its arguments.
#[derive(Debug, Clone)]
pub enum Question {
    /// What to publish.
    Advertise {
        /// The network.
        network: Network,
        /// The node that asks.
        node: Box<Node>,
        /// The config's `Backend` object.
        options: String,
        /// What the node published last.
        previous: Option<Way>,
    },
    /// What there is whoever the peers are.
    Local(Box<Context>),
    /// What sending takes.
    SendTo(Box<Context>, Box<Lease>, Way, Road),
    /// What receiving takes.
    ReceiveFrom(Box<Context>, Box<Lease>),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A way.
    Way(Way),
    /// The base of a plan.
    Base(Base),
    /// Items.
    Items(Vec<Item>),
    /// A refusal, or a failure of the plugin.
    Refused(PlanError),
}

impl Question {
    /// Asks the backend of that type; waits while it rests after a failure.
    pub async fn ask<P: Planner>(&self, planner: &P, backend: &str) -> Answer {
        for _ in 0..RESTS {
            match self.ask_once(planner, backend).await {
                Answer::Refused(PlanError::Resting(_)) => tokio::time::sleep(REST).await,
                answer => return answer,
            }
        }
        self.ask_once(planner, backend).await
    }

    async fn ask_once<P: Planner>(&self, planner: &P, backend: &str) -> Answer {
        let answered = match self.clone() {
            Question::Advertise { network, node, options, previous } => {
                planner.advertise(backend, network, *node, options, previous, vec![]).await.map(Answer::Way)
            }
            Question::Local(context) => planner.local(backend, *context).await.map(Answer::Base),
            Question::SendTo(context, peer, over, road) => planner.send_to(backend, *context, *peer, over, road).await.map(Answer::Items),
            Question::ReceiveFrom(context, peer) => planner.receive_from(backend, *context, *peer).await.map(Answer::Items),
        };
        answered.unwrap_or_else(Answer::Refused)
    }

    /// The question for people.
    pub fn words(&self) -> String {
        match self {
            Question::Advertise { node, options, previous, .. } => {
                let again = if previous.is_some() { " again" } else { "" };
                format!("advertise{again} for {} with options {}", node.id, short(options))
            }
            Question::Local(context) => format!("local of {} ({})", context.mine.subnets, role(context)),
            Question::SendTo(context, peer, over, road) => {
                format!("send-to {} at {} by {} ({:?}, {})", peer.subnets, peer.public, short(&over.options), road.v4, role(context))
            }
            Question::ReceiveFrom(context, peer) => format!("receive-from {} at {} ({})", peer.subnets, peer.public, role(context)),
        }
    }
}

impl Answer {
    /// Why the plugin failed, if it did: a trap, a limit or nonsense, and not one of the refusals that the contract knows.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Answer::Refused(PlanError::Plugin(why) | PlanError::Resting(why) | PlanError::Absent(why)) => Some(why),
            _ => None,
        }
    }

    /// The answer for people.
    pub fn words(&self) -> String {
        match self {
            Answer::Way(way) => format!("a way with options {} and data {:?} {:?}", short(&way.options), way.data_v4, way.data_v6),
            Answer::Base(base) => format!("pod MTU {} and {}", base.pod_mtu, items(&base.items)),
            Answer::Items(list) => items(list),
            Answer::Refused(error) => error.to_string(),
        }
    }
}

fn items(list: &[Item]) -> String {
    match list {
        [] => "no items".into(),
        list => list.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join("; "),
    }
}

fn role(context: &Context) -> &'static str {
    if context.primary { "the config's backend" } else { "beside another backend" }
}

/// At most this many characters of a text that a plugin made.
fn short(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST { text.to_owned() } else { format!("{}…", text.chars().take(MOST).collect::<String>()) }
}
