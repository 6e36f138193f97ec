//! The two lanes: that of the atomic stream tables, which is always there, and that of consistency per-node.
//!
//! ```text
//!   first stream table per-node ─▶ lane ─▶ agents are told ─▶ their second slots
//!   last one dropped            ─▶ agents are told ─▶ slots and publications dropped; the lane stands idle until the process ends
//! ```
//!
//! Crash: whether there is such a lane is never written down. It follows from the definitions in the target at every start, and
//! agents are told what follows at every attachment, so that no step between the two has to be found and finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use frontier::{KeyOf, Rules};
use proto::v1;
use sink::Sink;
use tokio::sync::{Mutex, mpsc, watch};
use topology::Provider;
use types::{Consistency, Gid};
use wal::Endpoint;

use crate::catalog::{Catalogs, Entry};
use crate::definition::parse_name;
use crate::error::{CoordinatorError, RequestError};
use crate::lane::{Lane, LaneOptions, Running};
use crate::options::Options;
use crate::progress::ProgressSender;
use crate::reconcile::{Reconciled, Scope};

/// What lanes are made from.
pub(crate) struct Maker {
    options: Options,
    endpoint: Endpoint,
    catalogs: Catalogs,
}

impl Maker {
    /// # Errors
    /// A setting that cannot be.
    pub(crate) fn new(options: Options, endpoint: Endpoint) -> Result<Self, CoordinatorError> {
        options.gid_pattern.as_deref().map(pattern).transpose()?;
        Ok(Self { options, endpoint, catalogs: Catalogs::default() })
    }

    async fn make(
        &self,
        consistency: Consistency,
        per_node: Option<watch::Receiver<bool>>,
    ) -> Result<(Arc<Lane>, Running), CoordinatorError> {
        let client = wal::connect(&self.endpoint, "tributary coordinator").await?;
        let cluster = topology::discover(&client, &self.endpoint).await?;
        drop(client);
        let (citus, by_node) = (cluster.provider == Provider::Citus, consistency == Consistency::PerNode);
        let pattern = self.options.gid_pattern.as_deref().map(pattern).transpose()?;
        let data_dir = match consistency {
            Consistency::Atomic => self.options.data_dir.clone(),
            Consistency::PerNode => self.options.data_dir.join(consistency.name()),
        };
        let lane = LaneOptions {
            consistency,
            instance: self.options.instance.clone(),
            endpoint: self.endpoint.clone(),
            data_dir,
            queue_bytes: self.options.queue_bytes,
            spool_bytes: self.options.spool_bytes,
            cache_bytes: self.options.cache_bytes,
            hold_limit: self.options.hold_limit,
            cluster,
            rules: Rules { citus, pattern, per_node: by_node },
            catalogs: self.catalogs.clone(),
            per_node,
        };
        lane.start().await
    }

    /// Whether the target has stream tables of consistency per-node.
    async fn has_per_node(&self) -> Result<bool, CoordinatorError> {
        let sink = Sink::connect(&self.endpoint, &self.options.instance, Consistency::PerNode).await?;
        Ok(!sink.list().await?.is_empty())
    }
}

/// The first group of a regular expression names a transaction.
fn pattern(text: &str) -> Result<KeyOf, CoordinatorError> {
    let expression = regex::Regex::new(text).map_err(|e| CoordinatorError::Setting(format!("gid_pattern: {e}")))?;
    if expression.captures_len() < 2 {
        return Err(CoordinatorError::Setting("gid_pattern: needs a group that names the transaction".into()));
    }
    Ok(Box::new(move |gid: &Gid| Some(expression.captures(&gid.0)?.get(1)?.as_str().to_owned())))
}

/// See the module's description.
pub(crate) struct Lanes {
    maker: Maker,
    atomic: Arc<Lane>,
    /// Put together at most once in a process. Held over awaits on purpose: one puts it together.
    per_node: Mutex<Option<Arc<Lane>>>,
    /// Requests that need it, though it may have no stream table yet.
    users: AtomicUsize,
    /// What agents are told.
    wanted: watch::Sender<bool>,
    /// Where what was put together is run.
    new: mpsc::Sender<Running>,
}

impl Lanes {
    /// Puts together what the target's definitions ask for.
    ///
    /// # Errors
    /// When the target or the data directory cannot be used.
    pub(crate) async fn start(maker: Maker, new: mpsc::Sender<Running>) -> Result<Self, CoordinatorError> {
        let (wanted, told) = watch::channel(false);
        let (atomic, running) = maker.make(Consistency::Atomic, Some(told)).await?;
        let mut all = vec![running];
        let mut per_node = None;
        if maker.has_per_node().await? {
            let (lane, running) = maker.make(Consistency::PerNode, None).await?;
            per_node = Some(lane);
            all.push(running);
            wanted.send_replace(true);
        } else {
            // Of an earlier time.
            let left = maker.options.data_dir.join(Consistency::PerNode.name());
            if left.exists()
                && let Err(error) = std::fs::remove_dir_all(&left)
            {
                tracing::debug!(dir = %left.display(), %error, "the state of dropped stream tables was not removed");
            }
        }
        let sender = new.clone();
        tokio::spawn(async move {
            for running in all {
                let _stopping = sender.send(running).await;
            }
        });
        Ok(Self { maker, atomic, per_node: Mutex::new(per_node), users: AtomicUsize::new(0), wanted, new })
    }

    /// The lane of the atomic stream tables.
    pub(crate) fn atomic(&self) -> &Arc<Lane> {
        &self.atomic
    }

    /// The lane of consistency per-node, while it has stream tables.
    pub(crate) async fn per_node(&self) -> Option<Arc<Lane>> {
        let lane = self.per_node.lock().await.clone();
        lane.filter(|_| *self.wanted.borrow())
    }

    /// The lanes that have stream tables, or always have some.
    pub(crate) async fn all(&self) -> Vec<Arc<Lane>> {
        [Some(self.atomic.clone()), self.per_node().await].into_iter().flatten().collect()
    }

    /// The lane that an agent of this instance is for.
    pub(crate) async fn of_instance(&self, instance: &str) -> Option<Arc<Lane>> {
        self.all().await.into_iter().find(|lane| lane.ingest.instance == instance)
    }

    /// The lane that keeps the stream table.
    ///
    /// # Errors
    /// [`RequestError::Unknown`], or a name that is none.
    pub(crate) async fn of(&self, name: &str) -> Result<Arc<Lane>, RequestError> {
        let parsed = parse_name(name)?;
        let all = self.all().await;
        let lane = all.into_iter().find(|lane| lane.requests.catalog.by_name(&parsed).is_some());
        lane.ok_or_else(|| RequestError::Unknown(name.to_owned()))
    }

    /// The lane for a stream table that is to be of this consistency; the one of per-node is put together if need be.
    async fn enter(&self, consistency: Consistency) -> Result<Arc<Lane>, RequestError> {
        if consistency == Consistency::Atomic {
            return Ok(self.atomic.clone());
        }
        let mut slot = self.per_node.lock().await;
        let lane = match slot.as_ref() {
            Some(lane) => lane.clone(),
            None => {
                let (lane, running) = self.maker.make(consistency, None).await.map_err(RequestError::unavailable)?;
                self.new.send(running).await.map_err(|_| RequestError::Unavailable("the aggregator stops".into()))?;
                slot.insert(lane).clone()
            }
        };
        self.say(true).await;
        Ok(lane)
    }

    /// Tells the agents what follows from the definitions.
    async fn settle(&self) {
        let slot = self.per_node.lock().await;
        let Some(lane) = slot.as_ref() else { return };
        let used = self.users.load(Ordering::Acquire) > 0 || !lane.requests.catalog.all().is_empty();
        self.say(used).await;
    }

    async fn say(&self, wanted: bool) {
        if self.wanted.send_replace(wanted) != wanted {
            self.atomic.requests.links.tell_per_node(wanted).await;
        }
    }

    /// Runs a request in the lane of this consistency, which is there at least as long.
    async fn within<T, F: Future<Output = Result<T, RequestError>>>(
        &self,
        consistency: Consistency,
        request: impl FnOnce(Arc<Lane>) -> F,
    ) -> Result<T, RequestError> {
        self.users.fetch_add(1, Ordering::AcqRel);
        let result = match self.enter(consistency).await {
            Ok(lane) => request(lane).await,
            Err(error) => Err(error),
        };
        self.users.fetch_sub(1, Ordering::AcqRel);
        self.settle().await;
        result
    }

    /// Defines a stream table in the lane of its consistency.
    ///
    /// # Errors
    /// As [`crate::requests::Requests::create`].
    pub(crate) async fn create(
        &self,
        request: v1::CreateStreamTableRequest,
        progress: ProgressSender,
    ) -> Result<Entry, RequestError> {
        let consistency = consistency_of(request.consistency()).unwrap_or_default();
        self.within(consistency, |lane| async move { lane.requests.create(request, progress).await }).await
    }

    /// Gives a stream table another query, or another consistency.
    ///
    /// # Errors
    /// As [`crate::requests::Requests::alter`], [`RequestError::Refused`] for both at a time.
    pub(crate) async fn alter(
        &self,
        request: v1::AlterStreamTableRequest,
        progress: &ProgressSender,
    ) -> Result<Entry, RequestError> {
        let from = self.of(&request.name).await?;
        let wanted = consistency_of(request.consistency()).filter(|c| *c != from.consistency);
        let Some(wanted) = wanted else { return from.requests.alter(request, progress).await };
        if !request.query.is_empty() || request.options.is_some() {
            let reason = "a query and a consistency are altered one after the other";
            return Err(RequestError::Refused(reason.into()));
        }
        self.within(wanted, |to| async move {
            // Nothing is given up before the other lane can begin.
            to.requests.all_attached().await?;
            let entry = from.requests.hand_over(&request.name, wanted).await?;
            to.requests.take_over(entry, progress).await
        })
        .await
    }

    /// Reads again what is kept of a stream table's sources, of all with an empty name, as far as it is in the scope.
    ///
    /// # Errors
    /// As [`crate::requests::Requests::reconcile`], [`RequestError::Refused`] when nothing of it is kept.
    pub(crate) async fn reconcile(
        &self,
        name: &str,
        scope: &Scope,
        progress: &ProgressSender,
    ) -> Result<(Option<Reconciled>, Option<Entry>), RequestError> {
        let (lanes, entry) = match name {
            "" => (self.all().await, None),
            name => {
                let lane = self.of(name).await?;
                let entry = lane.requests.entry(name)?;
                (vec![lane], Some(entry))
            }
        };
        let mut sum = None;
        for lane in lanes {
            let sources = match &entry {
                Some(entry) => entry.sources.clone(),
                None => lane.requests.catalog.sources_in_use().into_iter().collect(),
            };
            if let Some(done) = lane.requests.reconcile(&sources, scope, progress).await? {
                *sum.get_or_insert(Reconciled::default()) += done;
            }
        }
        let Some(sum) = sum else {
            let what = if name.is_empty() { "any stream table".to_owned() } else { name.to_owned() };
            let reason =
                format!("nothing like that is kept for {what}; `tributary stream describe` shows what it reads");
            return Err(RequestError::Refused(reason));
        };
        tracing::info!(name, read = sum.rows_read, differing = sum.differing, "read again on request");
        self.everything().await?;
        let entry = match entry {
            Some(entry) => Some(self.of(name).await?.requests.entry(&entry.name.quoted())?),
            None => None,
        };
        Ok((Some(sum), entry))
    }

    /// Removes a stream table.
    ///
    /// # Errors
    /// As [`crate::requests::Requests::drop_stream`].
    pub(crate) async fn drop_stream(&self, name: &str, cascade: bool) -> Result<(), RequestError> {
        let dropped = self.of(name).await?.requests.drop_stream(name, cascade).await;
        self.settle().await;
        dropped
    }

    /// Until everything that has committed before now, on whichever node, is readable in all stream tables.
    ///
    /// # Errors
    /// When the aggregator stops.
    pub(crate) async fn everything(&self) -> Result<(), RequestError> {
        for lane in self.all().await {
            lane.requests.waiter.everything().await?;
            lane.requests.settled().await;
        }
        Ok(())
    }
}

/// As a request says it; `None` when it says nothing.
fn consistency_of(asked: v1::Consistency) -> Option<Consistency> {
    match asked {
        v1::Consistency::Unspecified => None,
        v1::Consistency::Atomic => Some(Consistency::Atomic),
        v1::Consistency::PerNode => Some(Consistency::PerNode),
    }
}

/// As answers say it.
pub(crate) fn to_proto(consistency: Consistency) -> v1::Consistency {
    match consistency {
        Consistency::Atomic => v1::Consistency::Atomic,
        Consistency::PerNode => v1::Consistency::PerNode,
    }
}
