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
pub(super) struct Cache(Mutex<HashMap<String, Entry>>);

struct Entry {
    begun: Instant,
    page: Arc<OnceCell<Made>>,
}

impl Cache {
    /// The page of an address, made by the first who asks for it.
    pub async fn page<F>(&self, address: &str, make: F) -> Made
    where
        F: Future<Output = Made>,
    {
        match self.entry(address) {
            Some(page) => page.get_or_init(|| make).await.clone(),
            None => make.await,
        }
    }

    fn entry(&self, address: &str) -> Option<Arc<OnceCell<Made>>> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        pages.retain(|_, entry| now - entry.begun < FRESH);
        if let Some(entry) = pages.get(address) {
            return Some(Arc::clone(&entry.page));
        }
        if pages.len() >= PAGES_MAX {
            return None;
        }
        let page = Arc::new(OnceCell::new());
        pages.insert(address.to_owned(), Entry { begun: now, page: Arc::clone(&page) });
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
