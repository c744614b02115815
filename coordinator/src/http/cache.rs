//! Pages and figures that were made a moment ago: however many people look at a sweep, its page is
//! made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::OnceCell;

/// How old a page may be: as old as the driver's news.
const FRESH: Duration = Duration::from_secs(1);
/// Different pages that are kept; with more, those of the moment are made for each reader.
const PAGES_MAX: usize = 256;

/// A page that was made.
#[derive(Clone)]
pub(super) struct Made {
    /// Its status.
    pub status: StatusCode,
    /// Its content type.
    pub kind: &'static str,
    /// Its text.
    pub text: Bytes,
}

/// The newest pages by their address.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<String, Page>>);

/// A page, and since when there is one.
type Page = Arc<OnceCell<(Instant, Made)>>;

impl Cache {
    /// The page of an address, made by the first who asks for it.
    pub async fn page<F>(&self, address: &str, make: F) -> Made
    where
        F: Future<Output = Made>,
    {
        match self.entry(address) {
            Some(page) => {
                let make = async {
                    let made = make.await;
                    (Instant::now(), made)
                };
                page.get_or_init(|| make).await.1.clone()
            }
            None => make.await,
        }
    }

    fn entry(&self, address: &str) -> Option<Page> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        pages.retain(|_, page| match page.get() {
            Some((made, _)) => now.saturating_duration_since(*made) < FRESH,
            // Those who wait for it hold it as well.
            None => Arc::strong_count(page) > 1,
        });
        if let Some(page) = pages.get(address) {
            return Some(Arc::clone(page));
        }
        if pages.len() >= PAGES_MAX {
            return None;
        }
        let page = Page::default();
        pages.insert(address.to_owned(), Arc::clone(&page));
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_page_is_made_once_for_all_who_ask() {
        let cache = Cache::default();
        let count = AtomicUsize::new(0);
        let make = || async {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Made { status: StatusCode::OK, kind: "", text: Bytes::from_static(b"page") }
        };
        let (a, b, other) = tokio::join!(
            cache.page("/a", make()),
            cache.page("/a", make()),
            cache.page("/b", make())
        );
        assert_eq!((a.text, b.text, other.text.len()), ("page".into(), "page".into(), 4));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    /// One that takes longer to make than it stays fresh is not made for each reader.
    #[tokio::test]
    async fn a_page_in_the_making_is_waited_for_and_one_without_readers_forgotten() {
        let cache = Cache::default();
        let first = cache.entry("/a").expect("room");
        let second = cache.entry("/a").expect("room");
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        cache.entry("/b").expect("room");
        assert!(!cache.0.lock().expect("no panic").contains_key("/a"));
    }

    #[tokio::test]
    async fn pages_are_made_without_room_for_them() {
        let cache = Cache::default();
        for at in 0..PAGES_MAX + 10 {
            let made = async { Made { status: StatusCode::OK, kind: "", text: Bytes::new() } };
            cache.page(&at.to_string(), made).await;
        }
        assert!(cache.0.lock().expect("no panic").len() <= PAGES_MAX);
    }
}
