//! The parts of a topology, as values.

pub(crate) mod binding;
pub(crate) mod exchange;
pub(crate) mod policy;
pub(crate) mod queue;

use mooq_core::{FieldTable, FieldValue};

/// Returns a value with integers and floats of the greatest width. Brokers compare arguments
/// without their width, and JSON does not tell it.
pub(crate) fn widened(value: FieldValue) -> FieldValue {
    match value {
        FieldValue::F32(float) => FieldValue::F64(float.into()),
        FieldValue::Array(values) => values.into_iter().map(widened).collect::<Vec<_>>().into(),
        FieldValue::Table(table) => widened_table(table).into(),
        other => other.as_i64().map_or(other, FieldValue::I64),
    }
}

fn widened_table(table: FieldTable) -> FieldTable {
    if table.too_deep().is_some() {
        // It cannot be sent, as its check says.
        return table;
    }
    let entries = table.into_iter();
    entries.map(|(key, value)| (key, widened(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_as_wide_as_can_be_at_every_depth() {
        let table = FieldTable::new().with("n", 1_u8).unwrap();
        let list = vec![2_i16.into(), 0.5_f32.into(), table.into(), "3".into()];
        let table = FieldTable::new().with("n", 1_i64).unwrap();
        let wide = vec![2_i64.into(), 0.5_f64.into(), table.into(), "3".into()];
        assert_eq!(widened(list.into()), FieldValue::Array(wide));
    }
}
