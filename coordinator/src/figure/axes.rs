//! Which parameter stands where: as asked, else as in the sweep's own table.

use super::cells::Axes;
use super::error::FigureError;
use super::request::{Kind, Plot};
use super::setting::numbers;
use super::survey::Survey;
use super::trials::Trials;

/// The axes of a figure.
pub(super) fn axes(plot: &Plot, survey: &Survey, trials: &Trials) -> Result<Axes, FigureError> {
    let resolve = |flag, names: &[String]| {
        let mut places: Vec<usize> = Vec::with_capacity(names.len());
        for name in names {
            let place = trials.param(flag, name)?;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok::<Vec<usize>, FigureError>(places)
    };
    let pool = resolve("--pool", &plot.pool)?;
    let by = plot.by.as_ref().map(|by| resolve("--by", by)).transpose()?;
    let x = plot.x.as_deref().map(|x| trials.param("--x", x)).transpose()?;
    let taken: Vec<usize> = pool.iter().chain(by.iter().flatten()).chain(&x).copied().collect();
    let (rows, columns) = (known(trials, &survey.rows), known(trials, &survey.columns));
    let varying = trials.varying();
    // Those of the table first, then the others that vary.
    let free = |first: &[usize], taken: &[usize]| -> Vec<usize> {
        let mut free: Vec<usize> = Vec::new();
        for param in first.iter().chain(&varying) {
            if varying.contains(param) && !taken.contains(param) && !free.contains(param) {
                free.push(*param);
            }
        }
        free
    };
    let chooses = plot.best_by.is_some();
    match plot.kind {
        Kind::Line => {
            let x = x.or_else(|| first_number(&free(&rows, &taken), trials));
            let x = x.ok_or_else(|| too_few("a line figure", "one parameter", trials))?;
            let taken: Vec<usize> = taken.into_iter().chain([x]).collect();
            let by = by.unwrap_or_else(|| match chooses {
                true => columns.iter().copied().filter(|at| !taken.contains(at)).collect(),
                false => free(&columns, &taken),
            });
            Axes { x: Some(x), by, pool, choice: Vec::new() }.checked(trials, chooses)
        }
        Kind::Heat => {
            let needs = || too_few("a heat map", "two parameters", trials);
            let x = x.or_else(|| free(&columns, &taken).first().copied()).ok_or_else(needs)?;
            let taken: Vec<usize> = taken.into_iter().chain([x]).collect();
            let by = by.or_else(|| free(&rows, &taken).first().map(|row| vec![*row]));
            let by = by.ok_or_else(needs)?;
            Axes { x: Some(x), by, pool, choice: Vec::new() }.checked(trials, chooses)
        }
        Kind::Parallel => {
            let by = by.unwrap_or_else(|| {
                let all: Vec<usize> = rows.iter().chain(&columns).copied().collect();
                free(&all, &taken)
            });
            if by.is_empty() {
                return Err(too_few("a parallel figure", "parameters", trials));
            }
            Axes { x: None, by, pool, choice: Vec::new() }.checked(trials, chooses)
        }
    }
}

/// Those that vary; a sweep's table may have others.
fn known(trials: &Trials, names: &[String]) -> Vec<usize> {
    let place = |name: &String| trials.params().iter().position(|param| param == name);
    names.iter().filter_map(place).collect()
}

/// The first that has numbers, else the first.
fn first_number(params: &[usize], trials: &Trials) -> Option<usize> {
    let is_number = |param: &&usize| numbers(&trials.settings(**param)).is_some();
    params.iter().find(is_number).or(params.first()).copied()
}

fn too_few(figure: &'static str, needed: &'static str, trials: &Trials) -> FigureError {
    let varying = trials.varying().into_iter().map(|at| trials.params()[at].clone()).collect();
    FigureError::TooFew { figure, needed, varying }
}
