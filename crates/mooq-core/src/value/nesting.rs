//! Limits on the values of tables: the depth of nesting, and numbers that no broker takes.
//!
//! Values are compared, printed, cloned and dropped by recursive calls, one for each level of
//! nesting. A stack has room for some thousands of calls, and a stack overflow ends the process. So
//! no table takes a value that nests deeper than [`MAX_DEPTH`](crate::FieldTable::MAX_DEPTH), from
//! any source.

use super::FieldValue;

impl FieldValue {
    /// Returns true if tables and arrays nest deeper than `levels` in the value, including the
    /// value itself. Looks no deeper than that.
    pub(super) fn is_deeper_than(&self, levels: usize) -> bool {
        let Some(below) = levels.checked_sub(1) else {
            return matches!(self, Self::Array(_) | Self::Table(_));
        };
        match self {
            Self::Array(values) => values.iter().any(|value| value.is_deeper_than(below)),
            Self::Table(table) => table.iter().any(|(_, value)| value.is_deeper_than(below)),
            _ => false,
        }
    }

    /// Returns true if a table in the value has rejected an entry.
    pub(super) fn holds_refused(&self) -> bool {
        match self {
            Self::Array(values) => values.iter().any(Self::holds_refused),
            Self::Table(table) => {
                table.too_deep().is_some() || table.iter().any(|(_, value)| value.holds_refused())
            }
            _ => false,
        }
    }

    /// Drops the value without a recursive call for each level.
    pub(super) fn dismantle(self) {
        let mut left = vec![self];
        while let Some(value) = left.pop() {
            match value {
                Self::Array(values) => left.extend(values),
                Self::Table(table) => left.extend(table.into_iter().map(|(_, value)| value)),
                _ => {}
            }
        }
    }

    /// The first float in the value that is NaN or infinite.
    pub(super) fn not_finite(&self) -> Option<f64> {
        match self {
            Self::F32(float) => Some(f64::from(*float)).filter(|float| !float.is_finite()),
            Self::F64(float) => Some(*float).filter(|float| !float.is_finite()),
            Self::Array(values) => values.iter().find_map(Self::not_finite),
            Self::Table(table) => table.iter().find_map(|(_, value)| value.not_finite()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::value::FieldTable;

    /// Nested empty tables, `levels` of them.
    fn tables(levels: usize) -> FieldTable {
        let mut table = FieldTable::new();
        for _ in 1..levels {
            table = FieldTable::new().with("t", table).unwrap();
        }
        table
    }

    /// Nested arrays, `levels` of them, which nothing checks.
    fn arrays(levels: usize) -> FieldValue {
        (0..levels).fold(FieldValue::Void, |inner, _| vec![inner].into())
    }

    #[test]
    fn a_table_takes_a_hundred_levels_and_no_more() {
        let hundred = tables(FieldTable::MAX_DEPTH);
        let table = FieldTable::new().with("deep", hundred.clone()).unwrap();
        assert_eq!(table.get("deep"), Some(&hundred.into()));
        assert_eq!(table.clone(), table);
        assert!(table.check("header").is_ok());

        let err = FieldTable::new().with("deeper", table).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidArgument);
        assert!(err.to_string().contains("'deeper' nests"), "{err}");
    }

    #[test]
    fn depth_that_overflows_a_stack_is_refused_and_dropped_without_one() {
        for levels in [101, 2_200, 1_000_000] {
            let mut table = FieldTable::new();
            table.insert("deep".try_into().unwrap(), arrays(levels));
            assert!(table.is_empty());
            assert_eq!(table.too_deep().unwrap(), "deep");
            let err = table.check("header").unwrap_err();
            assert_eq!(err.kind(), ErrorKind::InvalidArgument);
            assert!(err.to_string().starts_with("header 'deep' nests"), "{err}");
        }
        let mut table = FieldTable::new();
        table.insert("deep".try_into().unwrap(), arrays(100));
        assert!(table.too_deep().is_none());
        assert!(table.check("header").is_ok());
    }

    #[test]
    fn a_refused_value_makes_every_table_around_it_unsendable() {
        let mut refused = FieldTable::new();
        refused.insert("deep".try_into().unwrap(), arrays(101));

        let mut appended = FieldTable::new().with("kept", 1).unwrap();
        appended.append(refused.clone());
        assert_eq!(appended.get("kept"), Some(&1.into()));
        let err = appended.check("header").unwrap_err();
        assert!(err.to_string().starts_with("header 'deep' nests"), "{err}");

        let mut around = FieldTable::new();
        around.insert("list".try_into().unwrap(), vec![refused.into()]);
        let err = around.check("header").unwrap_err();
        assert!(err.to_string().starts_with("header 'list' nests"), "{err}");
    }

    #[test]
    fn append_replaces_entries_of_the_same_key() {
        let mut table = FieldTable::new()
            .with("a", 1)
            .unwrap()
            .with("b", 1)
            .unwrap();
        table.append(FieldTable::new().with("b", 2).unwrap());
        let expected = FieldTable::new()
            .with("a", 1)
            .unwrap()
            .with("b", 2)
            .unwrap();
        assert_eq!(table, expected);
    }

    #[test]
    fn floats_that_are_no_numbers_are_named() {
        for (float, name) in [
            (FieldValue::F64(f64::NAN), "NaN"),
            (FieldValue::F32(f32::INFINITY), "inf"),
            (FieldValue::F64(f64::NEG_INFINITY), "-inf"),
        ] {
            let nested = FieldTable::new().with("x", vec![1.into(), float.clone()]);
            for value in [float, nested.unwrap().into()] {
                let table = FieldTable::new().with("a", 1.5).unwrap();
                let err = table
                    .with("ratio", value)
                    .unwrap()
                    .check("argument")
                    .unwrap_err();
                assert_eq!(err.kind(), ErrorKind::InvalidArgument);
                let said = format!("argument 'ratio' holds {name}");
                assert!(err.to_string().contains(&said), "{err}");
            }
        }
    }
}
