//! Panics that concern one stream table only.
//!
//! A bug in the planner or in an operator must not end the process for everybody: where one definition is worked on, a panic
//! is caught, and the definition is refused or stopped with what the panic said. Everything else that panics still ends
//! the process; the panic hook asks [`is_contained`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many [`contained`] are around what this thread does.
    static AROUND: Cell<u32> = const { Cell::new(0) };
}

/// A panic that was caught, as its message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a bug in tributary ({0}); please report it with the query and the log")]
pub struct Bug(String);

/// Runs `f`; whatever it had half done when it panicked is for the caller to throw away.
///
/// # Errors
/// [`Bug`] when it panicked.
pub fn contained<T>(f: impl FnOnce() -> T) -> Result<T, Bug> {
    struct Around;
    impl Drop for Around {
        fn drop(&mut self) {
            AROUND.set(AROUND.get() - 1);
        }
    }
    AROUND.set(AROUND.get() + 1);
    let around = Around;
    let done = catch_unwind(AssertUnwindSafe(f));
    drop(around);
    done.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        Bug(text.unwrap_or("unknown").replace('\n', " "))
    })
}

/// Whether a panic of this thread would be caught.
#[must_use]
pub fn is_contained() -> bool {
    AROUND.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_within_is_an_error_and_the_thread_goes_on() {
        assert!(!is_contained());
        assert_eq!(contained(is_contained), Ok(true));
        let bug = contained(|| {
            let _nested = contained(|| panic!("inner"));
            assert!(is_contained());
            panic!("outer\nline")
        });
        let text = bug.unwrap_err().to_string();
        assert!(text.contains("outer line") && text.contains("report"), "{text}");
        assert!(!is_contained());
    }
}
