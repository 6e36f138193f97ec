//! How far a request is, for whoever asked for it.

use proto::v1;
use tokio::sync::mpsc;

/// Where the progress of a first read goes; to nobody when nobody waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProgressSender(pub(crate) Option<mpsc::Sender<v1::ReadProgress>>);

impl ProgressSender {
    pub(crate) fn phase(&self, phase: &str) {
        self.send(v1::ReadProgress { phase: phase.to_owned(), nodes: Vec::new() });
    }
    pub(crate) fn reading(&self, nodes: Vec<v1::NodeRead>) {
        self.send(v1::ReadProgress { phase: "reading".into(), nodes });
    }
    /// Dropped when the receiver is slow: the next says more.
    fn send(&self, progress: v1::ReadProgress) {
        if let Some(sender) = &self.0 {
            let _full_or_gone = sender.try_send(progress);
        }
    }
}
