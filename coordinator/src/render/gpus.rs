//! GPUs for reading: a line each, below the workers.

use common::wire::{Gpu, Worker};
use serde_json::{Value, json};

use super::grid::{self, Grid, GridColumn};
use super::number::Unit;

/// The GPUs of these workers, one per row.
pub fn gpus_grid(workers: &[Worker]) -> Grid {
    let mut rows = Vec::new();
    for worker in workers {
        for gpu in &worker.gpus {
            rows.push(vec![
                grid::cell(&worker.worker),
                format!("cuda:{}", gpu.index),
                grid::cell(&gpu.name),
                figure(gpu.utilization, |share| Unit::Percent.with_decimals(share, 0)),
                memory(gpu),
                figure(gpu.temperature_celsius, |celsius| format!("{celsius:.0}")),
                figure(gpu.power_watts, |watts| format!("{watts:.0}")),
            ]);
        }
    }
    let columns = vec![
        GridColumn::new("worker").key(),
        GridColumn::new("gpu").key(),
        GridColumn::new("name"),
        GridColumn::new("busy %").right(),
        GridColumn::new("memory GiB").right(),
        GridColumn::new("°C").right(),
        GridColumn::new("W").right(),
    ];
    Grid { columns, rows }
}

fn figure(figure: Option<f64>, shown: impl Fn(f64) -> String) -> String {
    figure.map_or_else(|| "-".into(), shown)
}

fn memory(gpu: &Gpu) -> String {
    #[expect(clippy::cast_precision_loss, reason = "rounded to a tenth of a GiB")]
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    match (gpu.memory_used_bytes, gpu.memory_total_bytes) {
        (None, None) => "-".into(),
        (Some(used), None) => format!("{:.1}", gib(used)),
        (None, Some(total)) => format!("of {:.1}", gib(total)),
        (Some(used), Some(total)) => format!("{:.1} of {:.1}", gib(used), gib(total)),
    }
}

/// One GPU as JSON; what is not known is null.
pub(super) fn gpu_json(gpu: &Gpu) -> Value {
    json!({
        "index": gpu.index,
        "name": gpu.name,
        "utilization": gpu.utilization,
        "memory_used_bytes": gpu.memory_used_bytes,
        "memory_total_bytes": gpu.memory_total_bytes,
        "temperature_celsius": gpu.temperature_celsius,
        "power_watts": gpu.power_watts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Style;

    #[test]
    fn gpus_have_a_line_each() {
        let known = Gpu {
            index: 0,
            name: "NVIDIA\u{1b}[2J Test".into(),
            utilization: Some(0.875),
            memory_used_bytes: Some(3 << 29),
            memory_total_bytes: Some(141 << 30),
            temperature_celsius: Some(64.0),
            power_watts: Some(412.5),
        };
        let part = Gpu { index: 1, name: "NVIDIA Test".into(), ..Gpu::default() };
        let worker = Worker {
            worker: "a".into(),
            gpus: vec![known.clone(), part.clone()],
            ..Worker::default()
        };
        let shown = |workers: &[Worker]| {
            let mut out = Vec::new();
            gpus_grid(workers).write(Style::default(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let expected = "\
worker  gpu     name             busy %    memory GiB  °C    W
──────────────────────────────────────────────────────────────
a       cuda:0  NVIDIA\u{fffd}[2J Test      88  1.5 of 141.0  64  412
a       cuda:1  NVIDIA Test           -             -   -    -
";
        let text = shown(&[worker]);
        assert_eq!(text, expected, "\n{text}");
        assert!(gpus_grid(&[Worker::default()]).rows.is_empty());
        assert_eq!(gpu_json(&known)["memory_used_bytes"], 3u64 << 29);
        assert_eq!(gpu_json(&part)["power_watts"], Value::Null);
    }
}
