//! The best configs of a sweep, out of its table.

use std::collections::BTreeMap;

use common::wire::{TablePart, TableRequest, cell::Value};

use super::view::BestConfig;
use crate::cli::Failure;
use crate::cli::source::Source;
use crate::render;

/// The configs by mean validation error, the lowest first.
pub(super) async fn configs(sweep: &str, source: &mut Source) -> Result<Vec<BestConfig>, Failure> {
    let request =
        TableRequest { sweep: sweep.into(), metric: "val_error".into(), ..TableRequest::default() };
    let mut parts: Vec<TablePart> = Vec::new();
    let mut take = |part| {
        parts.push(part);
        Ok(())
    };
    source.table(request, &mut take).await?;
    let columns = parts.first().map_or(Vec::new(), |part| part.columns.clone());
    let mut configs = Vec::new();
    for row in parts.iter().flat_map(|part| &part.rows) {
        let mut keys = Vec::new();
        for (column, cell) in columns.iter().zip(&row.cells) {
            match &cell.value {
                Some(Value::Summary(summary)) if summary.n > 0 => {
                    let pivoted = BTreeMap::from_iter(column.key.clone());
                    let params = keys.iter().cloned().chain(pivoted).collect();
                    configs.push(BestConfig { params, val_error: *summary });
                }
                Some(Value::Summary(_)) | None => {}
                Some(_) => match render::plain(cell) {
                    value if value.is_empty() => {}
                    value => keys.push((column.name.clone(), value)),
                },
            }
        }
    }
    configs.sort_by(|a, b| a.val_error.mean.total_cmp(&b.val_error.mean));
    Ok(configs)
}
