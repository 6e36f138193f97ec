//! The agent as a whole: a task that attaches again and again until it is stopped or refused.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::{AgentError, AgentOptions, per_node, session};

/// Ships one node's committed transactions to the aggregator.
#[derive(Debug)]
pub struct Agent;

impl Agent {
    /// Starts an agent on the current tokio runtime. It goes on through failures of the node and of the aggregator.
    ///
    /// # Errors
    /// [`AgentError::BadInstance`] before anything is done; whatever happens later comes out of [`Handle::join`].
    pub fn spawn(options: AgentOptions) -> Result<Handle, AgentError> {
        options.check()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (said, heard) = watch::channel(None);
            tokio::select! {
                () = stopped.cancelled() => Ok(()),
                error = run(&options, &said) => Err(error),
                () = per_node::follow(&options, heard) => Ok(()),
            }
        });
        Ok(Handle { stop, task })
    }
}

/// A running agent. Dropping it stops the agent, too.
#[derive(Debug)]
pub struct Handle {
    stop: CancellationToken,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Handle {
    /// Tells the agent to stop. What it read and did not ship stays in the slot.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why it ended by itself: the aggregator refused it, or its settings cannot work.
    pub async fn join(mut self) -> Result<(), AgentError> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(e) => Err(AgentError::Link(format!("the agent's task ended: {e}"))),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Until an error that trying again does not help.
pub(crate) async fn run(options: &AgentOptions, per_node: &watch::Sender<Option<bool>>) -> AgentError {
    let mut backoff = Backoff::new();
    loop {
        let began = tokio::time::Instant::now();
        let Err(error) = Box::pin(session::run(options, per_node)).await else { continue };
        if error.is_final() {
            tracing::error!(node = %options.node, %error, "agent ends");
            return error;
        }
        if began.elapsed() > std::time::Duration::from_secs(10) {
            backoff.reset();
        }
        let pause = backoff.next(&error);
        tracing::warn!(node = %options.node, %error, retry_in = ?pause, "agent is not attached");
        tokio::time::sleep(pause).await;
    }
}
