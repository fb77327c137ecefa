//! The management API without the feature `management-client`: there is none.

use mooq_client::Connection;
use mooq_core::{QueueName, Result};

use super::management::Management;
use super::observed::Inventory;
use crate::value::binding::Binding;
use crate::value::policy::Policy;

/// No value of this type exists.
#[derive(Debug)]
pub(crate) enum Api {}

impl Api {
    pub(crate) fn of(_: Option<&Management>, _: &Connection) -> Result<Option<Self>> {
        Ok(None)
    }

    pub(crate) async fn inventory(&self) -> Result<Inventory> {
        match *self {}
    }

    pub(crate) async fn set_policy(&self, _: &Policy) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn clear_policy(&self, _: &str) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn unbind(&self, _: &Binding) -> Result<()> {
        match *self {}
    }

    pub(crate) async fn unacked(&self, _: &QueueName) -> Result<u64> {
        match *self {}
    }
}
