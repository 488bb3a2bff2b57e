//! Tables for people: columns side by side, without lines around them, and fewer of them where the terminal is narrow.
//!
//! ```text
//!  name   height        numbers to the right; colour has no width
//! ───────────────
//!  a           7
//!  bcd     1,234
//! ```

use console::measure_text_width;

/// What stands between two columns.
const GAP: &str = "   ";

/// A header and rows.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    header: Vec<String>,
    /// Columns that are numbers.
    right: Vec<usize>,
    /// Columns that give way where there is no room, the first of them first.
    giving_way: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows. Columns named in `right` are numbers.
    pub(crate) fn new(header: &[&str], right: &[usize]) -> Table {
        Table {
            header: header.iter().map(ToString::to_string).collect(),
            right: right.to_vec(),
            giving_way: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Names the columns that are left out, one after another, until the others have room.
    #[must_use]
    pub(crate) fn giving_way(mut self, columns: &[usize]) -> Table {
        self.giving_way = columns.to_vec();
        self
    }

    /// Adds a row; cells that it lacks are empty.
    pub(crate) fn add_row<T: Into<String>>(
        &mut self,
        cells: impl IntoIterator<Item = T>,
    ) -> &mut Table {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// The table in lines of so many characters at most, if leaving columns out can do it.
    pub(crate) fn lines(&self, width_max: Option<usize>) -> Vec<String> {
        let mut shown: Vec<usize> = (0..self.header.len()).collect();
        let mut hidden = self.giving_way.iter();
        while width_max.is_some_and(|max| self.width(&shown) > max) {
            let Some(column) = hidden.next() else { break };
            shown.retain(|c| c != column);
        }
        let mut lines = vec![
            self.line(&self.header, &shown),
            "─".repeat(self.width(&shown)),
        ];
        lines.extend(self.rows.iter().map(|row| self.line(row, &shown)));
        lines
    }

    fn width(&self, shown: &[usize]) -> usize {
        let columns: usize = shown.iter().map(|&c| self.column_width(c)).sum();
        columns + GAP.len() * shown.len().saturating_sub(1) + 2
    }

    fn column_width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let header = self.header.get(column);
        let widths = cells.chain(header).map(|cell| measure_text_width(cell));
        widths.max().unwrap_or(0)
    }

    fn line(&self, row: &[String], shown: &[usize]) -> String {
        let cell = |&column: &usize| {
            let cell = row.get(column).map_or("", String::as_str);
            let pad = " ".repeat(self.column_width(column) - measure_text_width(cell));
            match self.right.contains(&column) {
                true => pad + cell,
                false => cell.to_owned() + &pad,
            }
        };
        let cells: Vec<String> = shown.iter().map(cell).collect();
        format!(" {}", cells.join(GAP)).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_numbers_to_the_right() {
        let mut table = Table::new(&["name", "height"], &[1]);
        table.add_row(["a", "7"]).add_row(["bcd", "1,234"]);
        assert_eq!(
            table.lines(None).join("\n"),
            " name   height\n───────────────\n a           7\n bcd     1,234"
        );
    }

    #[test]
    fn colour_takes_no_room() {
        let mut table = Table::new(&["n", "state"], &[1]);
        table.add_row(["1", "\u{1b}[32mup\u{1b}[0m"]);
        assert_eq!(
            table.lines(None),
            [" n   state", "───────────", " 1      \u{1b}[32mup\u{1b}[0m"]
        );
    }

    #[test]
    fn columns_give_way_in_their_order_until_the_rest_has_room() {
        let mut table = Table::new(&["aaaa", "bbbb", "cccc"], &[]).giving_way(&[2, 1]);
        table.add_row(["1", "2", "3"]);
        let header = |max: Option<usize>| table.lines(max).remove(0);
        assert_eq!(header(None), " aaaa   bbbb   cccc");
        assert_eq!(header(Some(20)), " aaaa   bbbb   cccc");
        assert_eq!(header(Some(19)), " aaaa   bbbb");
        assert_eq!(header(Some(12)), " aaaa");
        assert_eq!(header(Some(1)), " aaaa", "one always stays");
    }
}
