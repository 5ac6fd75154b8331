//! Protocol buffers as they lie in a file: numbered fields, each a number or a run of bytes.
//!
//! Not by `prost`, as the event files of `byhand-report` are: its reader does not say at which byte a damaged file ends to make sense, and
//! copies every tensor. Beside a reader of our own, the writer is forty lines; for `prost` it would be a dozen structs.
//!
//! Source: "Protocol Buffers: Encoding", protobuf.dev/programming-guides/encoding.

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn int(mut self, field: u32, value: i64) -> Self {
        self.tag(field, VARINT);
        self.varint(value as u64);
        self
    }

    pub(super) fn ints(self, field: u32, values: &[usize]) -> Self {
        values.iter().fold(self, |message, &value| message.int(field, value as i64))
    }

    pub(super) fn float(mut self, field: u32, value: f32) -> Self {
        self.tag(field, FIXED32);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.tag(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub(super) fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub(super) fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    pub(super) fn messages(self, field: u32, messages: &[Self]) -> Self {
        messages.iter().fold(self, |all, message| all.message(field, message))
    }

    fn tag(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// The fields of a message that is being read. Nothing is copied, so memory is bounded by the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    /// Where the message begins in the file.
    pub(super) start: usize,
    next: usize,
}

/// A field: its number, where it begins in the file, its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) at: usize,
    pub(super) value: Value<'a>,
}

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Int(u64),
    Fixed32([u8; 4]),
    Fixed64,
    Bytes(&'a [u8], usize),
}

impl<'a> Fields<'a> {
    /// The message in these bytes, which begin at `start` of the file.
    pub(super) fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, start, next: 0 }
    }

    /// Whole numbers that lie one behind the other without tags (a packed field); at a place that is none the place, and then no more.
    pub(super) fn packed(mut self) -> impl Iterator<Item = Result<i64, usize>> {
        std::iter::from_fn(move || {
            self.is_more().then(|| {
                let at = self.start + self.next;
                self.varint().map(|value| value as i64).ok_or_else(|| self.end(at))
            })
        })
    }

    fn is_more(&self) -> bool {
        self.next < self.bytes.len()
    }

    /// Reads no more. The place `at` again.
    fn end(&mut self, at: usize) -> usize {
        self.next = self.bytes.len();
        at
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.next)?;
            self.next += 1;
            // Of the tenth byte one bit is left.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.next.checked_add(len)?;
        let bytes = self.bytes.get(self.next..end)?;
        self.next = end;
        Some(bytes)
    }

    fn field(&mut self) -> Option<Field<'a>> {
        let at = self.start + self.next;
        let tag = u32::try_from(self.varint()?).ok()?;
        let value = match tag & 7 {
            VARINT => Value::Int(self.varint()?),
            FIXED64 => self.take(8).map(|_| Value::Fixed64)?,
            FIXED32 => Value::Fixed32(self.take(4)?.try_into().ok()?),
            BYTES => {
                let len = usize::try_from(self.varint()?).ok()?;
                let start = self.start + self.next;
                Value::Bytes(self.take(len)?, start)
            }
            _ => return None,
        };
        Some(Field { number: tag >> 3, at, value })
    }
}

/// Fields up to the end of the message; at a place that is no field the place, and then no more.
impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        self.is_more().then(|| {
            let at = self.start + self.next;
            self.field().ok_or_else(|| self.end(at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message =
            Message::default().int(1, -1).int(300, 1 << 40).float(5, -0.5).text(7, "a").bytes(8, &[0; 200]);
        let fields: Vec<_> = Fields::new(&message.0, 0).map(Result::unwrap).collect();
        assert_eq!(fields.iter().map(|field| field.number).collect::<Vec<_>>(), [1, 300, 5, 7, 8]);
        assert!(matches!(fields[0].value, Value::Int(u64::MAX)));
        assert!(matches!(fields[1].value, Value::Int(n) if n == 1 << 40));
        assert!(matches!(fields[2].value, Value::Fixed32(bytes) if f32::from_le_bytes(bytes) == -0.5));
        assert!(matches!(fields[3].value, Value::Bytes(b"a", _)));
        assert!(matches!(fields[4].value, Value::Bytes(bytes, _) if bytes.len() == 200));
    }

    #[test]
    fn packed_numbers_end_at_what_is_none() {
        let bytes = [5, 0xff, 1, 0x80, 0x80];
        let read = |len: usize| Fields::new(&bytes[..len], 10).packed().collect::<Vec<_>>();
        assert_eq!(read(3), [Ok(5), Ok(255)]);
        assert_eq!(read(5), [Ok(5), Ok(255), Err(13)]);
        let minus = Message::default().int(1, -7);
        assert_eq!(Fields::new(&minus.0[1..], 0).packed().collect::<Vec<_>>(), [Ok(-7)]);
    }

    #[test]
    fn what_is_cut_short_ends_with_its_place() {
        let message = Message::default().int(1, 5).bytes(8, &[7; 200]);
        for len in 1..message.0.len() {
            let places: Vec<_> = Fields::new(&message.0[..len], 10).filter_map(Result::err).collect();
            let expected: &[usize] = match len {
                2 => &[],
                1 => &[10],
                _ => &[12],
            };
            assert_eq!(places, expected, "{len}");
        }
    }
}
