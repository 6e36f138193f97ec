//! Several statements on one session without waiting for each other's answer.
//!
//! tokio-postgres sends a statement when its future is first polled and gets the answers in the same order. So the
//! futures are polled first to last once, and from then on only the first that has no answer yet.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A statement that was not sent yet.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends all, in order, and gives their answers, in order.
pub(crate) async fn in_order<T>(mut pending: Vec<Pending<'_, T>>) -> Vec<T> {
    let mut answers: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    let mut sent = false;
    poll_fn(|cx| {
        let mut complete = true;
        for (future, answer) in pending.iter_mut().zip(&mut answers) {
            if answer.is_some() {
                continue;
            }
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *answer = Some(value),
                Poll::Pending => {
                    complete = false;
                    if sent {
                        break;
                    }
                }
            }
        }
        sent = true;
        if complete { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn all_are_sent_in_order_before_any_answer() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ends, answers): (Vec<_>, Vec<_>) = (0..5).map(|_| oneshot::channel::<usize>()).unzip();
        let pending = answers.into_iter().enumerate().map(|(n, answer)| {
            let log = log.clone();
            Box::pin(async move {
                log.lock().unwrap().push(n);
                answer.await.unwrap()
            }) as Pending<'_, usize>
        });
        let all = tokio::spawn(in_order(pending.collect()));
        tokio::task::yield_now().await;
        assert_eq!(*log.lock().unwrap(), [0, 1, 2, 3, 4]);
        for (n, end) in ends.into_iter().enumerate() {
            end.send(n * 10).unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(all.await.unwrap(), [0, 10, 20, 30, 40]);
    }
}
