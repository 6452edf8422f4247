//! The daemon's tasks, by name. They all run until the end; one that ends before, or panics, ends the daemon: half a daemon that says it is well would be worse.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;

/// Tasks that run.
#[derive(Default)]
pub struct Tasks(JoinSet<&'static str>);

impl Tasks {
    /// Starts one.
    pub fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            work.await;
            name
        });
    }

    /// Waits until one ends, and says which.
    pub async fn first_end(&mut self) -> String {
        match self.0.join_next().await {
            Some(Ok(name)) => format!("the task \"{name}\" ended"),
            Some(Err(error)) => format!("a task broke down: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended; true when they did within `limit`.
    pub async fn end(mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, async { while self.0.join_next().await.is_some() {} }).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_that_ends_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("patient", std::future::pending());
        tasks.spawn("hasty", async {});
        assert_eq!(tasks.first_end().await, "the task \"hasty\" ended");
        assert!(!tasks.end(Duration::from_millis(10)).await, "the other goes on");
    }

    #[tokio::test]
    async fn a_panic_is_an_end() {
        let mut tasks = Tasks::default();
        tasks.spawn("careless", async { panic!("on purpose") });
        assert!(tasks.first_end().await.contains("panic"));
    }
}
