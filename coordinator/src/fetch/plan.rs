//! What a download asks for, and what it does with the answer. Pure: nothing is read, sent or
//! written here.

use serde::{Deserialize, Serialize};

/// What the bytes of a part came from, kept beside it, so that they are never joined to those of
/// another file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// The address.
    pub url: String,
    /// A strong ETag, else Last-Modified.
    pub validator: Option<String>,
    /// Bytes of the whole.
    pub length: Option<u64>,
}

impl Source {
    /// Whether a later answer can be told from one of another file.
    fn is_known_again(&self) -> bool {
        self.validator.is_some() || self.length.is_some()
    }
}

/// What to ask a mirror for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// Everything.
    Whole,
    /// What follows the part that is here.
    Rest { from: u64, source: Source },
    /// Nothing: all of it is here, unchecked.
    Nothing,
}

/// Decides what to ask `url` for, with `held` bytes of `source` here.
pub(super) fn request(url: &str, held: u64, source: Option<&Source>) -> Request {
    let Some(source) = source.filter(|source| source.url == url && source.is_known_again()) else {
        return Request::Whole;
    };
    match source.length {
        Some(length) if held == length => Request::Nothing,
        Some(length) if held > length => Request::Whole,
        Some(_) | None if held == 0 => Request::Whole,
        Some(_) | None => Request::Rest { from: held, source: source.clone() },
    }
}

/// The head of a mirror's answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    /// The status.
    pub status: u16,
    /// Bytes that follow.
    pub length: Option<u64>,
    /// A strong ETag, else Last-Modified.
    pub validator: Option<String>,
    /// Content-Range: the first byte and, where told, the bytes of the whole.
    pub range: Option<(u64, Option<u64>)>,
}

/// What to do with an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Write it from the start, in place of what is here.
    Write(Source),
    /// Append it to what is here.
    Append,
    /// Ask again for the whole: this continues another file, or nothing.
    Again,
    /// No answer of use.
    Refused(u16),
}

/// Decides what an answer is good for.
pub(super) fn step(url: &str, request: &Request, head: &Head) -> Step {
    let source = Source { url: url.into(), validator: head.validator.clone(), length: head.length };
    match (head.status, request) {
        (200, _) => Step::Write(source),
        (206, Request::Rest { from, source }) if continues(head, *from, source) => Step::Append,
        (206 | 412 | 416, Request::Rest { .. }) => Step::Again,
        (status, _) => Step::Refused(status),
    }
}

fn continues(head: &Head, from: u64, source: &Source) -> bool {
    // What only one side tells cannot differ.
    fn same<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
        one.is_none() || other.is_none() || one == other
    }
    let Some((first, total)) = head.range else { return false };
    first == from
        && same(total, source.length)
        && same(head.validator.as_ref(), source.validator.as_ref())
}

/// A Content-Range such as `bytes 5-9/10` or `bytes 5-9/*`.
pub(super) fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

/// The addresses of a file on mirrors, in order.
pub(super) fn addresses(mirrors: &[String], file: &str) -> Vec<String> {
    mirrors.iter().map(|mirror| format!("{}/{file}", mirror.trim_end_matches('/'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://a/f";

    fn source(validator: Option<&str>, length: Option<u64>) -> Source {
        Source { url: URL.into(), validator: validator.map(Into::into), length }
    }

    #[test]
    fn only_a_part_that_is_known_again_is_continued() {
        let known = source(Some("\"x\""), Some(10));
        let rest = |from, source: &Source| Request::Rest { from, source: source.clone() };
        assert_eq!(request(URL, 4, Some(&known)), rest(4, &known));
        assert_eq!(request(URL, 10, Some(&known)), Request::Nothing);
        assert_eq!(request(URL, 11, Some(&known)), Request::Whole);
        assert_eq!(request(URL, 0, Some(&known)), Request::Whole);
        assert_eq!(request("http://b/f", 4, Some(&known)), Request::Whole);
        assert_eq!(request(URL, 4, None), Request::Whole);
        assert_eq!(request(URL, 4, Some(&source(None, None))), Request::Whole);
        let unsized_ = source(Some("\"x\""), None);
        assert_eq!(request(URL, 4, Some(&unsized_)), rest(4, &unsized_));
    }

    #[test]
    fn only_the_rest_of_the_same_file_is_appended() {
        let held = source(Some("\"x\""), Some(10));
        let rest = Request::Rest { from: 4, source: held };
        let head = |range, validator: Option<&str>| Head {
            status: 206,
            range,
            validator: validator.map(Into::into),
            length: Some(6),
        };
        let cases = [
            (head(Some((4, Some(10))), Some("\"x\"")), Step::Append),
            (head(Some((4, None)), None), Step::Append),
            (head(Some((5, Some(10))), Some("\"x\"")), Step::Again),
            (head(Some((4, Some(11))), Some("\"x\"")), Step::Again),
            (head(Some((4, Some(10))), Some("\"y\"")), Step::Again),
            (head(None, Some("\"x\"")), Step::Again),
            (Head { status: 416, ..Head::default() }, Step::Again),
            (Head { status: 412, ..Head::default() }, Step::Again),
            (Head { status: 404, ..Head::default() }, Step::Refused(404)),
        ];
        for (head, expected) in cases {
            assert_eq!(step(URL, &rest, &head), expected, "{head:?}");
        }
    }

    #[test]
    fn a_whole_answer_starts_anew_whatever_was_asked() {
        let head = Head { status: 200, length: Some(7), ..Head::default() };
        let expected = Step::Write(source(None, Some(7)));
        let rest = Request::Rest { from: 4, source: source(Some("\"x\""), None) };
        assert_eq!(step(URL, &rest, &head), expected);
        assert_eq!(step(URL, &Request::Whole, &head), expected);
        for status in [206, 304, 416, 500] {
            let head = Head { status, ..Head::default() };
            assert_eq!(step(URL, &Request::Whole, &head), Step::Refused(status));
        }
    }

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for text in ["", "bytes */10", "bytes 5", "lines 5-9/10", "bytes -9/10"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_join_with_one_slash() {
        let mirrors = ["http://a".to_owned(), "http://b/c/".to_owned()];
        assert_eq!(addresses(&mirrors, "f.gz"), ["http://a/f.gz", "http://b/c/f.gz"]);
    }
}
