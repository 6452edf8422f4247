//! What an operator can ask the running daemon for, over the Unix socket.

use futures_util::future::BoxFuture;
use twill_http::Control;
use twill_lease::keeper::Handle;

/// Passes requests on to the keeper.
pub struct Operator(pub Handle);

impl Control for Operator {
    fn release(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            let cluster = self.0.cluster();
            let subnets = cluster.borrow().own.as_ref().map(|own| own.subnets);
            self.0.release().await.map_err(|error| format!("cannot give the lease back: {error}"))?;
            let subnets = subnets.map_or_else(|| "the lease".into(), |subnets| subnets.to_string());
            Ok(format!("{subnets} was given back and the daemon ends; `twill down` takes its network state away"))
        })
    }

    fn accept_config(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async {
            self.0.accept_config().await.map_err(|error| format!("cannot put the config in force: {error}"))?;
            Ok("the config in the store is in force; the own subnet changes where it no longer fits".to_owned())
        })
    }
}
