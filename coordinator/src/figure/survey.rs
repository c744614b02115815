//! What the sweep's own table shows, from the head of its answer: defaults for a figure.

use common::wire::TablePart;

/// The axes of a sweep's own table, and its metric.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Survey {
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    pub metric: String,
}

impl Survey {
    /// Of the first part, which has the columns.
    pub fn of(part: &TablePart) -> Survey {
        let is_pivoted = part.columns.iter().any(|column| !column.key.is_empty());
        let mut rows: Vec<String> = part
            .columns
            .iter()
            .filter(|column| column.key.is_empty())
            .map(|column| column.name.clone())
            .collect();
        if !is_pivoted {
            // The last is the metric, which a parameter may share its name with.
            rows.pop();
        }
        let pivoted = part.columns.iter().find(|column| !column.key.is_empty());
        let columns = pivoted.map_or(Vec::new(), |column| {
            let names = column.name.split(' ').filter_map(|pair| pair.split_once('='));
            names.map(|(name, _)| name.to_owned()).collect()
        });
        Survey { rows, columns, metric: part.metric.clone() }
    }
}

#[cfg(test)]
mod tests {
    use common::wire::TableColumn;

    use super::*;

    fn column(name: &str, key: &[(&str, &str)]) -> TableColumn {
        let key = key.iter().map(|(param, value)| ((*param).into(), (*value).into())).collect();
        TableColumn { name: name.into(), key }
    }

    #[test]
    fn survey_tells_rows_from_columns_and_the_metric() {
        let columns = vec![column("epochs", &[]), column("epochs", &[])];
        let part = TablePart { columns, metric: "epochs".into(), ..TablePart::default() };
        assert_eq!(Survey::of(&part).rows, ["epochs"]);
        let columns = vec![
            column("depth", &[]),
            column("p=0.5 activation=relu", &[("activation", "relu"), ("p", "0.5")]),
        ];
        let part = TablePart { columns, metric: "val_error".into(), ..TablePart::default() };
        let survey = Survey::of(&part);
        assert_eq!((survey.rows.len(), survey.columns), (1, vec!["p".into(), "activation".into()]));
        assert_eq!(survey.metric, "val_error");
    }
}
