//! What the tasks that follow something have in common.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use twill_lease::keeper::Handle;
use twill_model::event::{Told, Weight};

use super::events::Events;

/// What most followers need.
#[derive(Clone)]
pub struct Followed {
    /// Ends them.
    pub shutdown: CancellationToken,
    /// Where they tell.
    pub events: Arc<Events>,
    /// The keeper, to be told of news.
    pub keeper: Handle,
}

impl Followed {
    /// Tells an event of this room.
    pub fn tell(&self, weight: Weight, told: impl Into<Told>) {
        self.events.tell(weight, "node", told);
    }
}
