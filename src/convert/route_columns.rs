//! The columns of an input that decide where its rows go.

use super::target::RowFault;
use crate::error::Result;
use crate::partition::{AddressColumn, Coordinate, RouteFault, Routing};

/// A column and its name, for messages.
pub(crate) struct Named<C> {
    pub(crate) name: String,
    pub(crate) column: C,
}

/// Columns of positions and keys, numbered as [`Routing`] has them; `C` is how an input finds them.
pub(crate) struct RouteColumns<C> {
    /// Right ascension and declination of each position.
    pub(crate) positions: Vec<(Named<C>, Named<C>)>,
    /// Keys that are looked up.
    pub(crate) keys: Vec<Named<C>>,
}

impl<C> RouteColumns<C> {
    /// Finds the columns.
    ///
    /// # Errors
    /// What `position` and `key` say of a column.
    pub(crate) fn resolve(
        routing: &Routing,
        position: impl Fn(&str) -> Result<C>,
        key: impl Fn(&str) -> Result<C>,
    ) -> Result<Self> {
        let named = |name: &str, find: &dyn Fn(&str) -> Result<C>| -> Result<Named<C>> {
            let column = find(name)?;
            let name = name.to_owned();
            Ok(Named { name, column })
        };
        let positions = routing.positions().into_iter();
        let positions: Result<Vec<_>> = positions
            .map(|columns| {
                Ok((
                    named(&columns.ra, &position)?,
                    named(&columns.dec, &position)?,
                ))
            })
            .collect();
        let keys = routing.keys().into_iter();
        let keys: Result<Vec<_>> = keys.map(|column| named(&column.id, &key)).collect();
        Ok(Self {
            positions: positions?,
            keys: keys?,
        })
    }

    /// Returns all of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Named<C>> {
        let positions = self.positions.iter().flat_map(|(ra, dec)| [ra, dec]);
        positions.chain(&self.keys)
    }

    /// Says which column a fault is in.
    #[cold]
    pub(crate) fn fault(&self, fault: RouteFault) -> RowFault {
        let column = match fault.column {
            AddressColumn::Key(number) => self.keys.get(number),
            AddressColumn::Position(number, coordinate) => {
                let position = self.positions.get(number);
                position.map(|(ra, dec)| match coordinate {
                    Coordinate::Ra => ra,
                    Coordinate::Dec => dec,
                })
            }
        };
        RowFault {
            column: column.map_or_else(String::new, |column| column.name.clone()),
            cell: fault.cell,
        }
    }
}
