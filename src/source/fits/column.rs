//! Columns of a binary table: what their keywords say, and which Arrow type they become (FITS
//! Standard 4.0, section 7.3).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::header::Header;

/// Most columns that a table may have.
const MOST_COLUMNS: u64 = 999;

/// A column of a binary table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    /// First byte of its cell in a row, and the bytes of the cell.
    pub(super) at: usize,
    pub(super) width: usize,
    /// Bytes of the cell that hold elements: what is behind them is undefined.
    pub(super) used: usize,
    pub(super) element: Element,
    /// Elements of a cell; 1 for a plain value.
    pub(super) count: usize,
    /// Lengths of the lists that a cell is, the outermost first; none for a plain value.
    pub(super) lists: Vec<i32>,
    /// For cells that tell of elements elsewhere: how they do.
    pub(super) pointer: Option<Pointer>,
}

/// How a cell tells where its elements lie in the heap: their number and first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pointer {
    /// Two numbers of 32 bits.
    Short,
    /// Two numbers of 64 bits.
    Long,
}

/// What an element is, as it lies in the file: all numbers begin with their highest byte.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Element {
    /// `T`, `F`, or NUL for no value.
    Logical,
    /// One bit.
    Bit,
    /// An integer of so many bytes; of one byte without sign.
    Integer {
        bytes: usize,
        form: IntegerForm,
        null: Option<i64>,
    },
    /// A float of 4 or 8 bytes.
    Float { bytes: usize, scale: Option<Scale> },
    /// Two floats.
    Complex { bytes: usize },
    /// Characters.
    Text { bytes: usize },
}

/// What an integer stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum IntegerForm {
    /// Itself.
    Plain,
    /// One of the other signedness: half of the range is added.
    Flipped,
    /// Itself and so much.
    Shifted(i64),
    /// A number that is made of it.
    Scaled(Scale),
}

/// Value = zero + factor × what the file holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub(super) factor: f64,
    pub(super) zero: f64,
}

impl Scale {
    pub(super) fn of(self, number: f64) -> f64 {
        self.zero + self.factor * number
    }
}

impl Element {
    /// Returns the bytes of an element; of bits, those that one begins.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Logical | Self::Bit => 1,
            Self::Integer { bytes, .. } | Self::Float { bytes, .. } | Self::Text { bytes } => {
                *bytes
            }
            Self::Complex { bytes } => 2 * bytes,
        }
    }

    /// Returns the bytes of so many elements, if they can be counted.
    pub(super) fn bytes_of(&self, count: usize) -> Option<usize> {
        match self {
            Self::Bit => Some(count.div_ceil(8)),
            _ => self.bytes().checked_mul(count),
        }
    }

    /// Returns the bytes of memory that one takes when it is decoded, with what tells whether it is NULL.
    pub(super) fn decoded_bytes(&self) -> u64 {
        let value = match self {
            Self::Logical | Self::Bit => 1,
            Self::Integer { bytes, form, .. } => match form {
                IntegerForm::Plain | IntegerForm::Flipped => *bytes,
                IntegerForm::Shifted(_) | IntegerForm::Scaled(_) => 8,
            },
            Self::Float { scale: Some(_), .. } => 8,
            // An offset goes with each text.
            Self::Text { bytes } => bytes + 4,
            Self::Float { .. } | Self::Complex { .. } => self.bytes(),
        };
        value as u64 + 2
    }

    /// Returns the Arrow type of one.
    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Logical | Self::Bit => DataType::Boolean,
            Self::Integer { bytes, form, .. } => match (form, bytes) {
                (IntegerForm::Plain, 1) => DataType::UInt8,
                (IntegerForm::Flipped, 1) => DataType::Int8,
                (IntegerForm::Plain, 2) => DataType::Int16,
                (IntegerForm::Flipped, 2) => DataType::UInt16,
                (IntegerForm::Plain, 4) => DataType::Int32,
                (IntegerForm::Flipped, 4) => DataType::UInt32,
                (IntegerForm::Flipped, _) => DataType::UInt64,
                (IntegerForm::Plain | IntegerForm::Shifted(_), _) => DataType::Int64,
                (IntegerForm::Scaled(_), _) => DataType::Float64,
            },
            Self::Float {
                bytes: 4,
                scale: None,
            } => DataType::Float32,
            Self::Float { .. } => DataType::Float64,
            Self::Complex { bytes } => list_of(Self::part_of_complex(*bytes), false, 2),
            Self::Text { .. } => DataType::Utf8,
        }
    }

    /// Returns the Arrow type of the two floats of a complex number.
    pub(super) fn part_of_complex(bytes: usize) -> DataType {
        match bytes {
            4 => DataType::Float32,
            _ => DataType::Float64,
        }
    }

    /// Says whether an element may be no value.
    pub(super) fn may_be_null(&self) -> bool {
        matches!(self, Self::Logical | Self::Integer { null: Some(_), .. })
    }
}

/// Returns the type of lists of `length` values.
pub(super) fn list_of(item: DataType, may_be_null: bool, length: i32) -> DataType {
    let item = Field::new_list_field(item, may_be_null);
    DataType::FixedSizeList(Arc::new(item), length)
}

impl Column {
    /// Reads what a header says of all columns.
    ///
    /// # Errors
    /// A message: what the header says contradicts itself.
    pub(super) fn all(header: &Header) -> Result<Vec<Self>, String> {
        let count = header.needed("TFIELDS")?;
        if count > MOST_COLUMNS {
            return Err(format!(
                "TFIELDS is {count}, but {MOST_COLUMNS} at most may be told of"
            ));
        }
        let mut columns = Vec::new();
        let mut at = 0usize;
        for number in 1..=count {
            let column =
                Self::one(header, number, at).map_err(|m| format!("column {number}: {m}"))?;
            at = at
                .checked_add(column.width)
                .ok_or("its columns are too wide")?;
            columns.push(column);
        }
        let row = header.needed("NAXIS1")?;
        if row != at as u64 {
            return Err(format!(
                "its columns take {at} bytes a row, NAXIS1 says {row}"
            ));
        }
        Ok(columns)
    }

    fn one(header: &Header, number: u64, at: usize) -> Result<Self, String> {
        let key = |stem: &str| format!("{stem}{number}");
        let format = header.text(&key("TFORM"));
        let format = format.ok_or_else(|| format!("it lacks {}", key("TFORM")))?;
        let format = format.trim_start().to_ascii_uppercase();
        let name = header.text(&key("TTYPE")).filter(|name| !name.is_empty());
        let name = name.map_or_else(|| format!("col{number}"), str::to_owned);
        let wrong = || format!("{} is {format}, which says no type", key("TFORM"));
        let too_long = || format!("{} is {format}, which is too long", key("TFORM"));
        let rest = format.trim_start_matches(|c: char| c.is_ascii_digit());
        let repeat = match &format[..format.len() - rest.len()] {
            "" => 1,
            digits => digits.parse().map_err(|_| too_long())?,
        };
        let mut letters = rest.chars();
        let letter = letters.next().ok_or_else(wrong)?;
        let (pointer, letter) = match letter {
            'P' => (Some(Pointer::Short), letters.next().ok_or_else(wrong)?),
            'Q' => (Some(Pointer::Long), letters.next().ok_or_else(wrong)?),
            letter => (None, letter),
        };
        if pointer.is_some() && repeat > 1 {
            return Err(wrong());
        }
        let mut column = Self {
            name,
            at,
            width: 0,
            used: 0,
            element: Self::element(header, number, letter)?.ok_or_else(wrong)?,
            count: repeat,
            lists: Vec::new(),
            pointer,
        };
        let sizes = header.text(&key("TDIM")).and_then(dimensions);
        let laid_out = match pointer {
            Some(Pointer::Short) => column.set_width(repeat * 8),
            Some(Pointer::Long) => column.set_width(repeat * 16),
            None if matches!(column.element, Element::Text { .. }) => {
                column.lay_out_texts(repeat, sizes, letters.as_str().parse().ok())
            }
            None => column.lay_out(repeat, sizes),
        };
        laid_out.map(|()| column).ok_or_else(too_long)
    }

    fn set_width(&mut self, width: usize) -> Option<()> {
        (self.width, self.used) = (width, width);
        Some(())
    }

    /// Lays out a cell of `repeat` elements, which are arrays of the sizes that TDIM says; nothing if
    /// they are too many.
    fn lay_out(&mut self, repeat: usize, sizes: Option<Vec<usize>>) -> Option<()> {
        self.set_width(self.element.bytes_of(repeat)?)?;
        if repeat == 1 {
            return Some(());
        }
        let sizes = sizes.filter(|sizes| fits(sizes, repeat));
        let sizes = sizes.unwrap_or_else(|| vec![repeat]);
        self.count = sizes.iter().product();
        self.used = self.element.bytes_of(self.count)?;
        self.lists = outermost_first(&sizes)?;
        Some(())
    }

    /// Lays out a cell of `repeat` characters. Texts of a fixed length may stand behind one another: as
    /// TDIM says, or, by an older habit, the number behind the letter.
    fn lay_out_texts(
        &mut self,
        repeat: usize,
        sizes: Option<Vec<usize>>,
        by_habit: Option<usize>,
    ) -> Option<()> {
        // Texts are told from each other by numbers of 32 bits.
        i32::try_from(repeat).ok()?;
        self.set_width(repeat)?;
        let by_habit = by_habit.filter(|length| *length > 0 && *length < repeat);
        let sizes = match (sizes, by_habit) {
            (Some(sizes), _) if fits(&sizes, repeat) && sizes.len() > 1 => sizes,
            (_, Some(length)) if repeat.is_multiple_of(length) => vec![length, repeat / length],
            _ => vec![repeat],
        };
        let (bytes, sizes) = sizes.split_first()?;
        self.count = sizes.iter().product();
        self.used = bytes * self.count;
        self.element = Element::Text { bytes: *bytes };
        self.lists = outermost_first(sizes)?;
        Some(())
    }

    /// Returns what the elements of a column are; nothing for a letter that says no type.
    fn element(header: &Header, number: u64, letter: char) -> Result<Option<Element>, String> {
        // Other types are not scaled, and have NULLs of their own, whatever the header says.
        let scale = match letter {
            'L' | 'X' | 'A' => Scales::NONE,
            _ => Scales::of(header, number)?,
        };
        let null = match letter {
            'B' | 'I' | 'J' | 'K' => header.integer(&format!("TNULL{number}"))?,
            _ => None,
        };
        if matches!(letter, 'C' | 'M') && !scale.is_plain() {
            let message = "its complex numbers are scaled (TSCAL, TZERO), which is not read";
            return Err(message.into());
        }
        Ok(Some(match letter {
            'L' => Element::Logical,
            'X' => Element::Bit,
            'B' => scale.integer(1, null),
            'I' => scale.integer(2, null),
            'J' => scale.integer(4, null),
            'K' => scale.integer(8, null),
            'E' => scale.float(4),
            'D' => scale.float(8),
            'C' => Element::Complex { bytes: 4 },
            'M' => Element::Complex { bytes: 8 },
            'A' => Element::Text { bytes: 1 },
            _ => return Ok(None),
        }))
    }

    /// Says whether a cell is no value at all: a list of nothing.
    pub(super) fn is_empty(&self) -> bool {
        let is_text = matches!(self.element, Element::Text { .. });
        self.width == 0 && !is_text
    }

    /// Returns the Arrow type of a cell.
    pub(super) fn data_type(&self) -> DataType {
        if self.is_empty() {
            return DataType::Null;
        }
        let item = self.element.data_type();
        match (self.pointer, &self.element) {
            (Some(_), Element::Text { .. }) => item,
            (Some(_), element) => {
                let item = Field::new_list_field(item, element.may_be_null());
                DataType::List(Arc::new(item))
            }
            (None, element) => {
                let lists = self.lists.iter().rev().enumerate();
                lists.fold(item, |item, (depth, length)| {
                    list_of(item, depth == 0 && element.may_be_null(), *length)
                })
            }
        }
    }

    /// Returns the column as others see it.
    pub(super) fn field(&self) -> Field {
        let is_plain = self.lists.is_empty() && self.pointer.is_none();
        let may_be_null = self.is_empty() || (is_plain && self.element.may_be_null());
        Field::new(&self.name, self.data_type(), may_be_null)
    }
}

/// What TSCAL and TZERO say.
struct Scales {
    /// As they are written; 1 and 0 where they say nothing.
    factor: f64,
    zero: f64,
    whole_zero: Option<i128>,
}

impl Scales {
    const NONE: Self = Self {
        factor: 1.0,
        zero: 0.0,
        whole_zero: Some(0),
    };

    fn of(header: &Header, number: u64) -> Result<Self, String> {
        let value = |stem: &str, usual: f64| {
            let key = format!("{stem}{number}");
            let written = header.number(&key)?;
            let value = written.map_or(Ok(usual), |written| {
                written
                    .parse()
                    .map_err(|_| format!("{key} is no number: {written}"))
            });
            value.map(|value: f64| (value, written.map(str::to_owned)))
        };
        let (factor, _) = value("TSCAL", 1.0)?;
        let (zero, written) = value("TZERO", 0.0)?;
        // Whole numbers up to 2^63 are exact as they are written.
        let exact = written
            .as_deref()
            .map_or(Some(0), |written| written.parse().ok());
        let is_whole = zero.fract() == 0.0 && zero.abs() <= 9_223_372_036_854_775_808.0;
        Ok(Self {
            factor,
            zero,
            whole_zero: exact.or_else(|| is_whole.then_some(zero as i128)),
        })
    }

    fn scale(&self) -> Scale {
        Scale {
            factor: self.factor,
            zero: self.zero,
        }
    }

    fn integer(&self, bytes: usize, null: Option<i64>) -> Element {
        let half = 1i128 << (bytes * 8 - 1);
        // What makes unsigned integers signed, and of bytes the other way round.
        let flip = if bytes == 1 { -half } else { half };
        let form = match self.whole_zero {
            Some(zero) if self.factor == 1.0 => match zero {
                0 => IntegerForm::Plain,
                zero if zero == flip => IntegerForm::Flipped,
                zero if bytes < 8 && zero.unsigned_abs() < 1 << 62 => {
                    IntegerForm::Shifted(i64::try_from(zero).unwrap_or(0))
                }
                _ => IntegerForm::Scaled(self.scale()),
            },
            _ => IntegerForm::Scaled(self.scale()),
        };
        Element::Integer { bytes, form, null }
    }

    fn float(&self, bytes: usize) -> Element {
        let scale = (!self.is_plain()).then(|| self.scale());
        Element::Float { bytes, scale }
    }

    fn is_plain(&self) -> bool {
        self.factor == 1.0 && self.zero == 0.0
    }
}

/// Reads `(2,3)`: lengths, that of the innermost lists first.
fn dimensions(text: &str) -> Option<Vec<usize>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    let sizes = inner.split(',').map(|size| size.trim().parse().ok());
    let sizes: Option<Vec<usize>> = sizes.collect();
    sizes.filter(|sizes| !sizes.is_empty() && !sizes.contains(&0))
}

/// Returns the lengths of lists, the outermost first, where FITS tells the innermost first; nothing if one
/// is too long.
fn outermost_first(sizes: &[usize]) -> Option<Vec<i32>> {
    let lengths = sizes.iter().rev();
    lengths.map(|length| i32::try_from(*length).ok()).collect()
}

/// Says whether arrays of these sizes find room in so many elements.
fn fits(sizes: &[usize], elements: usize) -> bool {
    let product = sizes
        .iter()
        .try_fold(1usize, |product, size| product.checked_mul(*size));
    product.is_some_and(|product| product <= elements)
}
