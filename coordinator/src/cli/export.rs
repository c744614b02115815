//! `export`: everything of a sweep that a paper or an archive wants, in one folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use common::wire::{TableLevel, TablePart, TableRequest};
use serde_json::{Value, json};

use super::source::Source;
use super::{ExportArgs, Failure, figure};
use crate::figure::{Curves, Drawing, Kind, Look, Plot, Request, png};
use crate::options::Global;
use crate::render::{self, Format, Style, TableWriter};

/// What a result is from, by the columns of `--provenance`.
const PROVENANCE_FIRST: &str = "program_version";

/// `export`.
pub(super) async fn export(args: &ExportArgs, global: &Global) -> Result<(), Failure> {
    let folder = Folder::create(&args.folder, args.force)?;
    let mut source = Source::open(args.place.coordinator.as_deref(), global).await?;
    let sweep = source.sweep(&args.sweep).await?;
    folder.write("sweep.yaml", sweep.yaml.as_bytes())?;
    let of_configs = TableRequest { sweep: args.sweep.clone(), ..TableRequest::default() };
    for (name, format) in
        [("table.md", Format::Markdown), ("table.tex", Format::Latex), ("table.csv", Format::Csv)]
    {
        folder.table(name, format, &mut source, of_configs.clone(), &mut |_| {}).await?;
    }
    let mut origins = Origins::default();
    let of_trials = TableRequest {
        level: TableLevel::Trials.into(),
        provenance: true,
        removed: true,
        ..of_configs.clone()
    };
    let mut count = |part: &TablePart| origins.add(part);
    folder.table("trials.parquet", Format::Parquet, &mut source, of_trials, &mut count).await?;
    let of_epochs = TableRequest { level: TableLevel::Epochs.into(), removed: true, ..of_configs };
    folder.table("epochs.parquet", Format::Parquet, &mut source, of_epochs, &mut |_| {}).await?;
    folder.figures(&args.sweep, &mut source).await?;
    let claims = source.expectations(&args.sweep).await?;
    folder.json("expectations.json", &render::expectations_json(&claims))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let provenance = json!({
        "exported_by": concat!("coordinator ", env!("CARGO_PKG_VERSION")),
        "exported_unix_ms": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        "sweep": render::sweep_json(&sweep),
        "origins": origins.to_json(),
    });
    folder.json("provenance.json", &provenance)?;
    folder.finish()?;
    writeln!(io::stderr().lock(), "wrote {}", args.folder.display())?;
    Ok(())
}

/// Nothing is replaced but an earlier export.
fn check_place(path: &Path, force: bool) -> Result<(), Failure> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let is_export = ["provenance.json", "sweep.yaml"].iter().all(|it| path.join(it).is_file());
    let is_empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    let text = match (is_export, force) {
        (true, true) => return Ok(()),
        (false, _) if is_empty => return Ok(()),
        (true, false) => format!("{} is there already; --force replaces it", path.display()),
        (false, _) => format!("{} is there already, and is no export", path.display()),
    };
    Err(Failure::Mistake(text))
}

/// A folder that appears when it is whole.
struct Folder {
    path: PathBuf,
    partial: PathBuf,
    is_finished: bool,
}

impl Folder {
    fn create(path: &Path, force: bool) -> Result<Folder, Failure> {
        check_place(path, force)?;
        let name = path.file_name().ok_or_else(|| {
            Failure::Mistake(format!("{} does not name a folder", path.display()))
        })?;
        let mut name = name.to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(name);
        fs::create_dir_all(&partial).map_err(|error| {
            Failure::Mistake(format!("cannot write {}: {error}", partial.display()))
        })?;
        Ok(Folder { path: path.into(), partial, is_finished: false })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.partial.join(name), bytes)
    }

    fn json(&self, name: &str, value: &Value) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        self.write(name, &text)
    }

    async fn table(
        &self,
        name: &str,
        format: Format,
        source: &mut Source,
        request: TableRequest,
        see: &mut dyn FnMut(&TablePart),
    ) -> Result<(), Failure> {
        let mut file = BufWriter::new(File::create(self.partial.join(name))?);
        let mut table = TableWriter::new(format, Style::default(), &mut file);
        let mut take = |part: TablePart| {
            see(&part);
            table.part(part)
        };
        source.table(request, &mut take).await?;
        table.finish()?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(())
    }

    /// As SVG and PNG, those that the sweep has enough parameters for.
    async fn figures(&self, sweep: &str, source: &mut Source) -> Result<(), Failure> {
        fs::create_dir(self.partial.join("figures"))?;
        let plot = |kind| Request::Plot(Plot { sweep: sweep.into(), kind, ..Plot::default() });
        let curves = Request::Curves(Curves { sweep: sweep.into(), ..Curves::default() });
        for (name, request) in [
            ("plot", plot(Kind::Line)),
            ("heat", plot(Kind::Heat)),
            ("parallel", plot(Kind::Parallel)),
            ("curves", curves),
        ] {
            match figure::svg(Drawing::new(request, Look::default())?, source).await {
                Ok(svg) => {
                    self.write(&format!("figures/{name}.svg"), svg.as_bytes())?;
                    self.write(&format!("figures/{name}.png"), &png(&svg)?)?;
                }
                Err(Failure::Mistake(why)) => {
                    writeln!(io::stderr().lock(), "no figure `{name}`: {why}")?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&self.path)?,
            Ok(_) => fs::remove_file(&self.path)?,
            Err(_) => {}
        }
        fs::rename(&self.partial, &self.path)?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Folder {
    /// What is not whole does not stay.
    fn drop(&mut self) {
        if !self.is_finished {
            drop(fs::remove_dir_all(&self.partial));
        }
    }
}

/// How many trials are from which programs, device and data.
#[derive(Default)]
struct Origins {
    names: Vec<String>,
    first: usize,
    trials: BTreeMap<Vec<String>, u64>,
}

impl Origins {
    fn add(&mut self, part: &TablePart) {
        if !part.columns.is_empty() {
            let names = part.columns.iter().map(|column| column.name.as_str());
            self.first = names.clone().rposition(|it| it == PROVENANCE_FIRST).unwrap_or(0);
            self.names = names.skip(self.first).map(str::to_owned).collect();
        }
        for row in &part.rows {
            let from: Vec<String> = row.cells.iter().skip(self.first).map(render::plain).collect();
            if from.iter().any(|value| !value.is_empty()) {
                *self.trials.entry(from).or_default() += 1;
            }
        }
    }

    fn to_json(&self) -> Value {
        let mut origins = Vec::with_capacity(self.trials.len());
        for (from, trials) in &self.trials {
            let mut origin: serde_json::Map<String, Value> = self
                .names
                .iter()
                .cloned()
                .zip(from.iter().map(|value| Value::from(value.as_str())))
                .collect();
            origin.insert("trials".into(), (*trials).into());
            origins.push(Value::Object(origin));
        }
        origins.into()
    }
}
