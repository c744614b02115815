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

use super::{Page, Web, answer, encoded, misunderstood};
use crate::answers::AnswerError;
use crate::query::{Reader, suggest};
use crate::render::{Excerpt, LaidOut, PageCell, Unit, plain};

/// Trials that a page shows.
const PAGE_TRIALS: usize = 100;
/// Trials that are filtered and sorted: what a second on one core makes.
const TRIALS_MAX: usize = 50_000;

/// Which trials, in which order.
#[derive(Deserialize, Default, Clone)]
#[serde(default, deny_unknown_fields)]
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
    let filter = match filter {
        Ok(Query(filter)) => filter,
        Err(error) => return misunderstood(&error),
    };
    answer(&web, &uri, async {
        let listing = read(&web, name.clone(), filter.clone()).await?;
        let of = format!("/sweeps/{}", encoded(&name));
        let above = vec![("sweeps".into(), "/".into()), (name.clone(), of.clone())];
        let body = html! {
            (form(&of, &filter))
            section #trials {
                @match listing {
                    Ok(listing) => (listing.show(&of, &filter)),
                    Err(text) => p.error { (text) },
                }
            }
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

async fn read(
    web: &Web,
    sweep: String,
    filter: Filter,
) -> Result<Result<Listing, String>, AnswerError> {
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

/// A word that a trial must have.
struct Word<'f> {
    /// The column that must be it; none: one that starts with it.
    at: Option<usize>,
    /// How the column shows its numbers.
    unit: Unit,
    text: &'f str,
    number: Option<f64>,
}

/// The words of a filter, or what is wrong with them.
fn words<'f>(find: &'f str, columns: &[TableColumn]) -> Result<Vec<Word<'f>>, String> {
    let mut words = Vec::new();
    for word in find.split_whitespace() {
        let Some((name, text)) = word.split_once('=') else {
            if word.contains(['<', '>']) {
                return Err(format!("Words and NAME=VALUE are looked for, not `{word}`"));
            }
            words.push(Word { at: None, unit: Unit::Plain, text: word, number: None });
            continue;
        };
        let Some(at) = columns.iter().position(|it| it.name == name) else {
            let near = suggest(name, columns.iter().map(|it| it.name.as_str()));
            let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(format!("There is no column `{name}`{near}"));
        };
        words.push(Word { at: Some(at), unit: Unit::of(name), text, number: text.parse().ok() });
    }
    Ok(words)
}

impl Word<'_> {
    fn fits(&self, row: &TableRow) -> bool {
        match self.at {
            Some(at) => self.is(&row.cells[at]),
            None => row.cells.iter().any(|cell| {
                let start = plain(cell);
                let start = start.get(..self.text.len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(self.text))
            }),
        }
    }

    /// A number by its value, or as it is shown.
    fn is(&self, cell: &Cell) -> bool {
        match number(cell) {
            Some(number) => self.number == Some(number) || self.unit.value(number) == self.text,
            None => match plain(cell).as_str() {
                "" => ["", "-"].contains(&self.text),
                text => text.eq_ignore_ascii_case(self.text),
            },
        }
    }
}

/// Filters, sorts, and takes a page.
fn select(
    columns: Vec<TableColumn>,
    mut rows: Vec<TableRow>,
    is_cut: bool,
    filter: &Filter,
) -> Result<Listing, String> {
    // A parameter may be named like a metric, which comes after it.
    let place = |name: &str| columns.iter().rposition(|column| column.name == name);
    let state = place("state");
    let words = words(&filter.find, &columns)?;
    rows.retain(|row| {
        let of_state = filter.state.is_empty()
            || state.is_some_and(|at| plain(&row.cells[at]) == filter.state);
        of_state && words.iter().all(|word| word.fits(row))
    });
    if !filter.sort.is_empty() {
        let at = place(&filter.sort);
        let at = at.ok_or_else(|| format!("There is no column `{}`", filter.sort))?;
        rows.sort_by(|a, b| compare(&a.cells[at], &b.cells[at], filter.down));
    }
    let found = rows.len();
    let last = found.div_ceil(PAGE_TRIALS).max(1);
    let page = filter.page.clamp(1, last);
    rows.drain(..(page - 1) * PAGE_TRIALS);
    rows.truncate(PAGE_TRIALS);
    Ok(Listing { columns, rows, found, is_cut, page })
}

fn number(cell: &Cell) -> Option<f64> {
    match &cell.value {
        Some(Value::Number(number)) => Some(*number),
        #[expect(clippy::cast_precision_loss, reason = "for an order")]
        Some(Value::Integer(integer)) => Some(*integer as f64),
        Some(Value::Text(_) | Value::Summary(_)) | None => None,
    }
}

/// Numbers before words, and what has no value last in both directions.
fn compare(a: &Cell, b: &Cell, down: bool) -> Ordering {
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
        let mut table = Excerpt::new(PAGE_TRIALS, usize::MAX);
        table.part(TablePart { columns: self.columns, rows: self.rows, ..TablePart::default() });
        let table = table.laid_out();
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
        let listing = select(columns.into(), rows.collect(), false, filter).expect("a filter");
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
    }

    #[test]
    fn trials_are_filtered_by_state_and_words() {
        let find = |find: &str| Filter { find: find.into(), ..Filter::default() };
        assert_eq!(listing(&find("depth=2")), ["a", "d"]);
        assert_eq!(listing(&find("depth=2 comp")), ["a"]);
        assert!(listing(&find("depth=7")).is_empty());
        assert_eq!(listing(&find("depth=1e1")), ["b"]);
        assert_eq!(listing(&find("test_error=0.1")), ["c"]);
        assert_eq!(listing(&find("test_error=30.00 A")), ["a"], "as it is shown");
        assert_eq!(listing(&find("test_error=-")), ["b", "d"]);
        let columns = [TableColumn { name: "depth".into(), ..TableColumn::default() }];
        let wrong = words("dept=2", &columns).err().expect("no such column");
        assert_eq!(wrong, "There is no column `dept`; did you mean `depth`?");
        assert!(words("depth>2", &columns).is_err());
        let failed = Filter { state: "failed".into(), page: 9, ..Filter::default() };
        assert_eq!(listing(&failed), ["b"]);
    }
}
