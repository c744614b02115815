//! `/sweeps/SWEEP/trials`: every trial of a sweep, filtered and sorted as the address says.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use axum::response::Response;
use common::wire::{Cell, TableColumn, TableLevel, TablePart, TableRequest, TableRow, cell::Value};
use maud::{Markup, html};
use serde::Deserialize;

use super::{Page, Web, answer, encoded};
use crate::answers::AnswerError;
use crate::query::Reader;
use crate::render::{LaidOut, PageCell, laid_out, plain};

/// Trials that a page shows.
const PAGE_TRIALS: usize = 100;
/// Trials that are filtered and sorted: what a second on one core makes.
const TRIALS_MAX: usize = 50_000;

/// Which trials, in which order.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct Filter {
    /// A state; empty: any.
    state: String,
    /// Words that a trial's cells have, each `column=value` or the start of any cell.
    find: String,
    /// A column; empty: the order of the sweep file.
    sort: String,
    /// From the largest down.
    down: bool,
    /// From 1.
    page: usize,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    uri: Uri,
    Path(name): Path<String>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Response {
    let filter = filter.map(|Query(filter)| filter).unwrap_or_default();
    answer(&web, &uri, async {
        let listing = read(&web, name.clone(), filter.clone()).await?;
        let of = format!("/sweeps/{}", encoded(&name));
        let above = vec![("sweeps".into(), "/".into()), (name.clone(), of.clone())];
        let body = html! {
            (form(&of, &filter))
            section #trials { (listing.show(&of, &filter)) }
        };
        Ok(Page { title: format!("Trials of {name}"), above, body })
    })
    .await
}

const STATES: [&str; 6] = ["pending", "running", "completed", "diverged", "failed", "cancelled"];

fn form(of: &str, filter: &Filter) -> Markup {
    html! {
        form.layout method="get" action=(format!("{of}/trials")) {
            label {
                "State "
                select name="state" {
                    option value="" { "any" }
                    @for state in STATES {
                        option value=(state) selected[state == filter.state] { (state) }
                    }
                }
            }
            label {
                "Find "
                input name="find" type="search" value=(filter.find) placeholder="depth=20 grelu";
            }
            input type="hidden" name="sort" value=(filter.sort);
            @if filter.down { input type="hidden" name="down" value="true"; }
            button { "Show" }
        }
    }
}

/// A page of trials.
struct Listing {
    columns: Vec<TableColumn>,
    rows: Vec<TableRow>,
    /// That the filter leaves.
    found: usize,
    /// The sweep has more than are looked at.
    is_cut: bool,
    page: usize,
}

async fn read(web: &Web, sweep: String, filter: Filter) -> Result<Listing, AnswerError> {
    let request = TableRequest { sweep, level: TableLevel::Trials.into(), ..Default::default() };
    let read = move |reader: &Reader| {
        let (mut columns, mut rows, mut is_cut) = (Vec::new(), Vec::new(), false);
        reader.table(&request, &mut |part: TablePart| {
            if columns.is_empty() {
                columns = part.columns;
            }
            rows.extend(part.rows);
            is_cut = rows.len() >= TRIALS_MAX;
            if is_cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(select(columns, rows, is_cut, &filter))
    };
    web.answers.read(read).await
}

/// Filters, sorts, and takes a page.
fn select(
    columns: Vec<TableColumn>,
    mut rows: Vec<TableRow>,
    is_cut: bool,
    filter: &Filter,
) -> Listing {
    // A parameter may be named like a metric, which comes after it.
    let place = |name: &str| columns.iter().rposition(|column| column.name == name);
    let state = place("state");
    let words: Vec<(Option<usize>, &str)> = filter
        .find
        .split_whitespace()
        .map(|word| match word.split_once('=') {
            Some((name, value)) => (columns.iter().position(|it| it.name == name), value),
            None => (None, word),
        })
        .collect();
    rows.retain(|row| {
        let of_state = filter.state.is_empty()
            || state.is_some_and(|at| plain(&row.cells[at]) == filter.state);
        of_state && words.iter().all(|(at, word)| has(row, *at, word))
    });
    if let Some(at) = place(&filter.sort) {
        rows.sort_by(|a, b| compare(&a.cells[at], &b.cells[at], filter.down));
    }
    let found = rows.len();
    let last = found.div_ceil(PAGE_TRIALS).max(1);
    let page = filter.page.clamp(1, last);
    rows.drain(..(page - 1) * PAGE_TRIALS);
    rows.truncate(PAGE_TRIALS);
    Listing { columns, rows, found, is_cut, page }
}

fn has(row: &TableRow, at: Option<usize>, word: &str) -> bool {
    match at {
        Some(at) => plain(&row.cells[at]) == word,
        None => row.cells.iter().any(|cell| plain(cell).starts_with(word)),
    }
}

/// Numbers before words, and what has no value last in both directions.
fn compare(a: &Cell, b: &Cell, down: bool) -> Ordering {
    let number = |cell: &Cell| match &cell.value {
        Some(Value::Number(number)) => Some(*number),
        #[expect(clippy::cast_precision_loss, reason = "for an order")]
        Some(Value::Integer(integer)) => Some(*integer as f64),
        Some(Value::Text(_) | Value::Summary(_)) | None => None,
    };
    let turned = |order: Ordering| if down { order.reverse() } else { order };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => turned(a.total_cmp(&b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => {
            let (a, b) = (plain(a), plain(b));
            a.is_empty().cmp(&b.is_empty()).then_with(|| turned(a.cmp(&b)))
        }
    }
}

impl Listing {
    fn show(self, of: &str, filter: &Filter) -> Markup {
        let first = (self.page - 1) * PAGE_TRIALS;
        let (shown, found, page) = (self.rows.len(), self.found, self.page);
        let is_cut = self.is_cut;
        let names: Vec<String> = self.columns.iter().map(|it| it.name.clone()).collect();
        let part = TablePart { columns: self.columns, rows: self.rows, ..TablePart::default() };
        let table = laid_out(vec![part], PAGE_TRIALS);
        let to = |page| address(of, filter, &filter.sort, filter.down, page);
        html! {
            p {
                @if found == 0 { "No trials match." } @else {
                    (first + 1) "–" (first + shown) " of " (found)
                    @if is_cut {
                        ", among the first " (TRIALS_MAX) " trials; the downloads have all of them"
                    }
                }
            }
            (rows(&table, &names, of, filter))
            nav.pages aria-label="Pages" {
                @if page > 1 { a href=(to(page - 1)) rel="prev" { "← previous" } }
                @if first + shown < found { a href=(to(page + 1)) rel="next" { "next →" } }
            }
        }
    }
}

fn rows(table: &LaidOut, names: &[String], of: &str, filter: &Filter) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Trials" {
            table {
                thead {
                    tr {
                        @for (column, name) in table.page.columns.iter().zip(names) {
                            (heading(&column.header.join(" "), name, column.is_numeric, of, filter))
                        }
                    }
                }
                tbody {
                    @for cells in &table.page.rows { (row(table, cells, of)) }
                }
            }
        }
    }
}

fn row(table: &LaidOut, cells: &[PageCell], of: &str) -> Markup {
    html! {
        tr {
            @for (at, (column, cell)) in table.page.columns.iter().zip(cells).enumerate() {
                td class=[column.is_numeric.then_some("number")] {
                    @match cell {
                        PageCell::Plain(id) if at == 0 => {
                            a href=(format!("{of}/trials/{}", encoded(id))) { (id) }
                        }
                        PageCell::Plain(text) => (text),
                        PageCell::Summary { mean, .. } => (mean),
                    }
                }
            }
        }
    }
}

/// Sorts by its column; a second time the other way round.
fn heading(header: &str, name: &str, is_numeric: bool, of: &str, filter: &Filter) -> Markup {
    let is_sorted = filter.sort == name;
    let direction = match (is_sorted, filter.down) {
        (false, _) => None,
        (true, false) => Some("ascending"),
        (true, true) => Some("descending"),
    };
    html! {
        th scope="col" class=[is_numeric.then_some("number")] aria-sort=[direction] {
            a href=(address(of, filter, name, is_sorted && !filter.down, 1)) { (header) }
        }
    }
}

fn address(of: &str, filter: &Filter, sort: &str, down: bool, page: usize) -> String {
    let mut address = format!("{of}/trials?state={}", encoded(&filter.state));
    address.push_str(&format!("&find={}&sort={}", encoded(&filter.find), encoded(sort)));
    if down {
        address.push_str("&down=true");
    }
    format!("{address}&page={page}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: Value) -> Cell {
        Cell { value: Some(value) }
    }

    fn listing(filter: &Filter) -> Vec<String> {
        let columns = ["trial", "depth", "state", "test_error"];
        let columns = columns.map(|name| TableColumn { name: name.into(), ..Default::default() });
        let rows = [("a", 2, "completed", Some(0.3)), ("b", 10, "failed", None)];
        let more = [("c", 5, "completed", Some(0.1)), ("d", 2, "pending", None)];
        let rows = rows.into_iter().chain(more).map(|(trial, depth, state, error)| TableRow {
            cells: vec![
                cell(Value::Text(trial.into())),
                cell(Value::Integer(depth)),
                cell(Value::Text(state.into())),
                error.map_or(cell(Value::Text(String::new())), |it| cell(Value::Number(it))),
            ],
        });
        let listing = select(columns.into(), rows.collect(), false, filter);
        listing.rows.iter().map(|row| plain(&row.cells[0])).collect()
    }

    #[test]
    fn trials_are_sorted_with_those_without_a_value_last() {
        let by = |sort: &str, down| Filter { sort: sort.into(), down, ..Filter::default() };
        assert_eq!(listing(&by("", false)), ["a", "b", "c", "d"]);
        assert_eq!(listing(&by("test_error", false)), ["c", "a", "b", "d"]);
        assert_eq!(listing(&by("test_error", true)), ["a", "c", "b", "d"]);
        assert_eq!(listing(&by("depth", true)), ["b", "c", "a", "d"]);
        assert_eq!(listing(&by("state", false)), ["a", "c", "b", "d"]);
        assert_eq!(listing(&by("nothing", true)), ["a", "b", "c", "d"]);
    }

    #[test]
    fn trials_are_filtered_by_state_and_words() {
        let find = |find: &str| Filter { find: find.into(), ..Filter::default() };
        assert_eq!(listing(&find("depth=2")), ["a", "d"]);
        assert_eq!(listing(&find("depth=2 comp")), ["a"]);
        assert!(listing(&find("depth=7")).is_empty());
        let failed = Filter { state: "failed".into(), page: 9, ..Filter::default() };
        assert_eq!(listing(&failed), ["b"]);
    }
}
