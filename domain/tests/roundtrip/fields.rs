//! Through Redis fields, and the same in JSON.

use std::collections::BTreeMap;

use domain::container::Container;
use domain::{fields, json};
use proptest::prelude::*;
use serde_json::Value;

use crate::{config, strategy};

fn hash(container: &Container) -> BTreeMap<String, String> {
    fields::container(container).into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

/// A JSON value as the text of a field.
fn as_field(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => panic!("{name}: {value}"),
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn fields_come_back(container in strategy::container()) {
        prop_assert_eq!(fields::parse_container(&hash(&container)), Ok(container));
    }

    #[test]
    fn edited_fields_never_panic(container in strategy::container(), name in 0..27_usize, text in strategy::text()) {
        let mut edited = hash(&container);
        edited.insert(fields::NAMES[name].to_owned(), text);
        if let Ok(accepted) = fields::parse_container(&edited) {
            prop_assert_eq!(fields::parse_container(&hash(&accepted)), Ok(accepted));
        }
    }

    #[test]
    fn fields_and_json_say_the_same(container in strategy::container()) {
        let hash = hash(&container);
        let Value::Object(object) = json::container(&container) else { panic!("an object") };
        prop_assert_eq!(object.keys().collect::<Vec<_>>(), hash.keys().collect::<Vec<_>>());
        for (name, value) in &object {
            if name == "labels" || name == "ports" {
                prop_assert_eq!(&serde_json::from_str::<Value>(&hash[name]).expect("JSON"), value);
            } else {
                prop_assert_eq!(&as_field(name, value), &hash[name]);
            }
        }
    }

    #[test]
    fn fields_stand_in_the_contracts_order(container in strategy::container()) {
        let names: Vec<_> = fields::container(&container).into_iter().map(|(name, _)| name).collect();
        let expected: Vec<_> = fields::NAMES.into_iter().filter(|name| names.contains(name)).collect();
        prop_assert_eq!(names, expected);
    }
}
