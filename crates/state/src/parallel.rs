//! Reading with several threads: a read of much is a wait for the disk, or the unpacking of blocks.

use std::sync::OnceLock;

/// As the engine's own thread has: conditions that are evaluated on what is read may be nested deeply. Only what is used takes
/// memory.
const STACK: usize = 16 << 20;

/// How many threads read at once.
pub(crate) fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, |n| n.get().min(4)))
}

/// Reads parts of `items` side by side, and gives each part with what was read, in order. Fewer than two times `least` items
/// are one part, which the caller's own thread reads, as it does what no thread can be had for.
pub fn in_parallel<I: Sync, R: Send>(items: &[I], least: usize, read: impl Fn(&[I]) -> R + Sync) -> Vec<(&[I], R)> {
    let count = (items.len() / least.max(1)).clamp(1, threads());
    let mut parts = items.chunks(items.len().div_ceil(count).max(1));
    let Some(first) = parts.next() else { return Vec::new() };
    std::thread::scope(|scope| {
        let read = &read;
        let thread = || std::thread::Builder::new().name("read".into()).stack_size(STACK);
        let others: Vec<_> = parts.map(|part| (part, thread().spawn_scoped(scope, move || read(part)))).collect();
        let mut out = vec![(first, read(first))];
        for (part, other) in others {
            out.push((
                part,
                match other {
                    // A panic is the caller's, as if it had read all by itself.
                    Ok(other) => other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    Err(_) => read(part),
                },
            ));
        }
        out
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn all_is_read_once_and_in_order() {
        for count in [0, 1, 7, 8, 9, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let read = in_parallel(&items, 4, <[usize]>::to_vec);
            assert!(read.iter().all(|(part, read)| part == read));
            assert_eq!(read.into_iter().flat_map(|(_, read)| read).collect::<Vec<_>>(), items);
        }
    }

    #[test]
    fn what_is_read_may_be_nested_as_deeply_as_in_the_engine() {
        fn nested(depth: usize) -> usize {
            let room = std::hint::black_box([depth; 128]);
            if depth == 0 { 0 } else { nested(depth - 1) + room[0] - depth + 1 }
        }
        // More than a thread's usual 2 MiB, in a part of each thread.
        let all = || {
            let read = in_parallel(&[4000; 8], 1, |part| part.iter().map(|depth| nested(*depth)).sum::<usize>());
            read.iter().map(|(_, read)| read).sum::<usize>()
        };
        let engine = std::thread::Builder::new().stack_size(STACK).spawn(all).unwrap();
        assert_eq!(engine.join().unwrap(), 8 * 4000);
    }

    #[test]
    fn little_is_read_by_the_caller() {
        let caller = std::thread::current().id();
        let read = in_parallel(&[1, 2, 3], 2, |_| std::thread::current().id());
        assert_eq!(read, [(&[1, 2, 3][..], caller)]);
    }
}
