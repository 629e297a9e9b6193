//! Arbitrary messages: well-formed ones with values that mean something now and then, and what is left of them after
//! bytes were lost, doubled and changed.

use fastrand::Rng;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// Messages nest; at some depth nothing more is filled in.
const DEPTH: usize = 6;

/// Words that mean something somewhere.
const WORDS: [&str; 26] = [
    "host",
    "main",
    "local",
    "true",
    "cat",
    "-c",
    "exit 3",
    "sleep",
    "0.1",
    "/tmp/file",
    "/proc/self/mem",
    "..",
    "tag",
    "ebbtide.dev/owner-pid",
    "ebbtide.dev/orphan-grace-seconds",
    "ebbtide.dev/keep",
    "ebbtide.dev/detach",
    "always",
    "ebbtide.dev/idle-timeout-seconds",
    "NaN",
    "1",
    "500m",
    "64Mi",
    "1e9",
    "\0",
    "",
];
/// What gets a request past the first checks, by the name of the field.
const FITTING: [(&str, &[&str]); 7] = [
    ("image", &["host"]),
    ("command", &["sh", "true", "cat", "seq", "no-such-program"]),
    (
        "path",
        &["/tmp/file", "/tmp", "/etc/hostname", "/dev/zero", "/proc/self/mem", "/tmp/a/b/c", "/dev/stdin"],
    ),
    ("file_path", &["/tmp/file", "/tmp", "/dev/zero", "/proc/kmsg", "/tmp/a/b/c"]),
    ("working_dir", &["/tmp", "/", "/nowhere"]),
    ("cpu", &["1", "100m"]),
    ("memory", &["64Mi", "1Gi"]),
];
/// Without these a request is refused before anything of it is looked at.
const NEEDED: [&str; 6] = ["sandbox_id", "sandbox", "spec", "containers", "image", "command"];

/// Makes messages from a source of chance.
pub(crate) struct Maker<'a> {
    pub(crate) rng: &'a mut Rng,
    /// The ids of sandboxes that are there, or were.
    pub(crate) ids: &'a [String],
}

impl Maker<'_> {
    /// The bytes of some message of this type, or of what was one.
    pub(crate) fn bytes(&mut self, descriptor: &MessageDescriptor) -> Vec<u8> {
        let mut bytes = self.message(descriptor, 0).encode_to_vec();
        if self.rng.u8(0..10) < 4 {
            self.damage(&mut bytes);
        }
        bytes
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        // Few are full, most nearly empty: what is refused for one field is not looked at for the others.
        let density = self.rng.u8(0..10).saturating_sub(self.rng.u8(0..10));
        for field in descriptor.fields() {
            let needed = NEEDED.contains(&field.name()) && self.rng.u8(0..20) > 0;
            if depth < DEPTH && (needed || self.rng.u8(0..10) < density) {
                let value = self.field(&field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        if field.is_map() {
            let entry = field.kind();
            let entry = entry.as_message().expect("an entry").clone();
            let value = entry.map_entry_value_field();
            let pairs = (0..self.rng.u8(0..3)).map(|_| {
                let key = MapKey::String(self.text());
                (key, self.value(&value.kind(), value.name(), depth))
            });
            return Value::Map(pairs.collect());
        }
        if field.is_list() {
            let length = if field.name() == "containers" { 1 } else { self.rng.usize(0..4) };
            return Value::List(
                (0..length).map(|_| self.value(&field.kind(), field.name(), depth)).collect(),
            );
        }
        self.value(&field.kind(), field.name(), depth)
    }

    fn value(&mut self, kind: &Kind, name: &str, depth: usize) -> Value {
        match kind {
            Kind::Double => Value::F64(f64::from_bits(self.rng.u64(..))),
            Kind::Float => Value::F32(f32::from_bits(self.rng.u32(..))),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.number() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number() as u64),
            Kind::Bool => Value::Bool(self.rng.bool()),
            Kind::String if name.ends_with("_id") && self.rng.u8(0..10) < 8 => Value::String(self.id()),
            Kind::String => Value::String(self.fitting(name)),
            Kind::Bytes => Value::Bytes(self.data().into()),
            Kind::Message(descriptor) => Value::Message(self.message(descriptor, depth + 1)),
            Kind::Enum(_) => Value::EnumNumber(self.number() as i32),
        }
    }

    pub(crate) fn id(&mut self) -> String {
        self.rng.choice(self.ids).cloned().unwrap_or_default()
    }

    fn number(&mut self) -> i64 {
        match self.rng.u8(0..8) {
            0 => 0,
            1 => -1,
            2 => i64::from(i32::MAX),
            3 => i64::MIN,
            4 => self.rng.i64(..),
            _ => self.rng.i64(1..20),
        }
    }

    fn fitting(&mut self, name: &str) -> String {
        match FITTING.iter().find(|(field, _)| *field == name) {
            Some((_, words)) if self.rng.u8(0..10) > 0 => words[self.rng.usize(0..words.len())].to_owned(),
            _ => self.text(),
        }
    }

    fn text(&mut self) -> String {
        match self.rng.u8(0..10) {
            0 => (0..self.rng.usize(0..40)).map(|_| self.rng.char(..)).collect(),
            1 => "x".repeat(1 << self.rng.u8(0..18)),
            _ => WORDS[self.rng.usize(0..WORDS.len())].to_owned(),
        }
    }

    pub(crate) fn data(&mut self) -> Vec<u8> {
        let bound = 1 << self.rng.u8(1..16);
        let length = self.rng.usize(0..bound);
        std::iter::repeat_with(|| self.rng.u8(..)).take(length).collect()
    }

    /// Loses, doubles and changes bytes.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.rng.u8(1..5) {
            let at = self.rng.usize(0..=bytes.len());
            let end = self.rng.usize(at..=bytes.len());
            match self.rng.u8(0..5) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let twice = bytes[at..end].to_vec();
                    bytes.splice(at..at, twice);
                }
                3 => {
                    let new = self.data();
                    bytes.splice(at..at, new);
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = self.rng.u8(..);
                    }
                }
            }
        }
    }
}
