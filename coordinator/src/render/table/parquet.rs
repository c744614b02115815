//! Tables as Apache Parquet, for pandas and polars: typed columns that may be null, fractions at
//! full precision, one column per statistic of a summary. Rows are written in groups, so that a
//! table of any length takes bounded memory.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use common::wire::{ColumnType, TableRow};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::columns::{Column, check_row};
use super::flat::{self, Flat, FlatColumn};

/// Values of a row group: some tens of megabytes at most.
const GROUP_VALUES_MAX: usize = 1 << 20;

/// A table of which some groups of rows may be written.
pub(super) struct ParquetTable {
    columns: Vec<Column>,
    flat: Vec<FlatColumn>,
    values: Vec<Values>,
    rows: usize,
    writer: SerializedFileWriter<Pipe>,
    pipe: Pipe,
}

impl ParquetTable {
    /// Before the first row.
    pub fn start(columns: Vec<Column>, metric: &str) -> io::Result<ParquetTable> {
        let flat = flat::columns(&columns, metric);
        let values = flat.iter().map(|column| Values::new(column.kind)).collect();
        let pipe = Pipe::default();
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = schema(&flat)
            .and_then(|schema| {
                SerializedFileWriter::new(pipe.clone(), schema, Arc::new(properties))
            })
            .map_err(io::Error::other)?;
        Ok(ParquetTable { columns, flat, values, rows: 0, writer, pipe })
    }

    /// Takes rows; writes full groups.
    pub fn rows(&mut self, rows: &[TableRow], out: &mut dyn Write) -> io::Result<()> {
        for row in rows {
            check_row(&self.columns, row.cells.len())?;
            let mut at = 0;
            flat::values(&self.columns, &row.cells, |value| {
                let taken = self.values[at].push(value);
                let name = &self.flat[at].name;
                at += 1;
                taken.ok_or_else(|| {
                    let text = format!("a cell of another type in column `{name}`: {value:?}");
                    io::Error::new(io::ErrorKind::InvalidData, text)
                })
            })?;
            self.rows += 1;
            if self.rows * self.flat.len() >= GROUP_VALUES_MAX {
                self.write_group(out)?;
            }
        }
        Ok(())
    }

    /// Writes what is left, and the file's index.
    pub fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.rows > 0 {
            self.write_group(out)?;
        }
        self.writer.close().map_err(io::Error::other)?;
        self.pipe.drain(out)
    }

    fn write_group(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.rows = 0;
        self.try_group().map_err(io::Error::other)?;
        self.pipe.drain(out)
    }

    fn try_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for values in &mut self.values {
            values.write(&mut group)?;
        }
        group.close()?;
        Ok(())
    }
}

fn schema(columns: &[FlatColumn]) -> Result<TypePtr> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let (physical, logical) = match column.kind {
            ColumnType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnType::Number => (Physical::DOUBLE, None),
            ColumnType::Integer => (Physical::INT64, None),
            ColumnType::Unsigned => {
                let unsigned = LogicalType::integer(64, false);
                (Physical::INT64, Some(unsigned))
            }
            ColumnType::Boolean => (Physical::BOOLEAN, None),
        };
        let field = Type::primitive_type_builder(&column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()?;
        fields.push(Arc::new(field));
    }
    Ok(Arc::new(Type::group_type_builder("table").with_fields(fields).build()?))
}

/// The values of a column that wait for their group.
struct Values {
    /// 1 where the row has a value, 0 where it is null.
    present: Vec<i16>,
    of_type: Typed,
}

enum Typed {
    Text(Vec<ByteArray>),
    Number(Vec<f64>),
    Integer(Vec<i64>),
    /// As the bits of signed ones, which is how the format stores them.
    Unsigned(Vec<i64>),
    Boolean(Vec<bool>),
}

impl Values {
    fn new(kind: ColumnType) -> Values {
        let of_type = match kind {
            ColumnType::Text => Typed::Text(Vec::new()),
            ColumnType::Number => Typed::Number(Vec::new()),
            ColumnType::Integer => Typed::Integer(Vec::new()),
            ColumnType::Unsigned => Typed::Unsigned(Vec::new()),
            ColumnType::Boolean => Typed::Boolean(Vec::new()),
        };
        Values { present: Vec::new(), of_type }
    }

    /// None where the value is of another type. A parameter that is switched off (`null`) is null.
    fn push(&mut self, value: Flat<'_>) -> Option<()> {
        match (&mut self.of_type, value) {
            (_, Flat::None) | (Typed::Number(_) | Typed::Integer(_), Flat::Text("null")) => {
                self.present.push(0);
                return Some(());
            }
            (Typed::Text(values), Flat::Text(text)) => values.push(ByteArray::from(text)),
            (Typed::Text(values), Flat::Number(number)) => {
                values.push(ByteArray::from(number.to_string().as_str()));
            }
            (Typed::Text(values), Flat::Integer(integer)) => {
                values.push(ByteArray::from(integer.to_string().as_str()));
            }
            (Typed::Number(values), Flat::Number(number)) => values.push(number),
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
            (Typed::Number(values), Flat::Integer(integer)) => values.push(integer as f64),
            (Typed::Integer(values), Flat::Integer(integer)) => values.push(integer),
            (Typed::Unsigned(values), Flat::Integer(integer)) if integer >= 0 => {
                values.push(integer);
            }
            (Typed::Unsigned(values), Flat::Text(digits)) => {
                values.push(digits.parse::<u64>().ok()?.cast_signed());
            }
            (Typed::Boolean(values), Flat::Text("true")) => values.push(true),
            (Typed::Boolean(values), Flat::Text("false")) => values.push(false),
            (Typed::Number(_) | Typed::Integer(_) | Typed::Boolean(_), Flat::Text(_))
            | (Typed::Integer(_) | Typed::Unsigned(_) | Typed::Boolean(_), Flat::Number(_))
            | (Typed::Unsigned(_) | Typed::Boolean(_), Flat::Integer(_)) => return None,
        }
        self.present.push(1);
        Some(())
    }

    /// Writes the column of a group.
    fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, Pipe>) -> Result<()> {
        let present = mem::take(&mut self.present);
        let next = group.next_column()?;
        let mut column = next.ok_or_else(|| ParquetError::General("too few columns".into()))?;
        match (&mut self.of_type, column.untyped()) {
            (Typed::Text(values), ColumnWriter::ByteArrayColumnWriter(to)) => {
                batch(to, values, &present)?;
            }
            (Typed::Number(values), ColumnWriter::DoubleColumnWriter(to)) => {
                batch(to, values, &present)?;
            }
            (
                Typed::Integer(values) | Typed::Unsigned(values),
                ColumnWriter::Int64ColumnWriter(to),
            ) => batch(to, values, &present)?,
            (Typed::Boolean(values), ColumnWriter::BoolColumnWriter(to)) => {
                batch(to, values, &present)?;
            }
            _ => return Err(ParquetError::General("a column of another type".into())),
        }
        column.close()
    }
}

fn batch<T: DataType>(
    column: &mut ColumnWriterImpl<'_, T>,
    values: &mut Vec<T::T>,
    present: &[i16],
) -> Result<()> {
    column.write_batch(&mem::take(values), Some(present), None)?;
    Ok(())
}

/// What the writer of the format has written and is not passed on yet: the format's writer must
/// own its output, and only the caller of `rows` has one.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    fn drain(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        out.write_all(&bytes)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
