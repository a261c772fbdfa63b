//! Writes small BTF blobs for feature probes and tests.

/// Types and strings, serialised by [`Blob::bytes`].
pub(crate) struct Blob {
    types: Vec<u32>,
    count: u32,
    strings: Vec<u8>,
}

impl Blob {
    pub fn new() -> Self {
        Self { types: Vec::new(), count: 0, strings: vec![0] }
    }

    /// The offset of `text` in the string section.
    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    /// Adds a type and returns its id: `info` is `kind << 24 | vlen`, `tail` what follows the
    /// record.
    pub fn add(&mut self, name: &str, info: u32, size_or_type: u32, tail: &[u32]) -> u32 {
        let name = self.string(name);
        self.types.extend([name, info, size_or_type]);
        self.types.extend(tail);
        self.count += 1;
        self.count
    }

    /// An `int` of `size` bytes.
    pub fn int(&mut self, name: &str, size: u32) -> u32 {
        self.add(name, 1 << 24, size, &[size * 8])
    }

    /// A function `int name(void)`.
    pub fn function(&mut self, name: &str, returns: u32) -> u32 {
        let proto = self.add("", 13 << 24, returns, &[]);
        self.add(name, 12 << 24, proto, &[])
    }

    /// The whole blob, header first.
    pub fn bytes(&self) -> Vec<u8> {
        let type_len = self.types.len() as u32 * 4;
        // Magic, version 1 and no flags in one word, whatever the byte order.
        let mut out = 0xeb9f_u16.to_ne_bytes().to_vec();
        out.extend([1, 0]);
        let header = [24, 0, type_len, type_len, self.strings.len() as u32];
        for word in header.iter().chain(&self.types) {
            out.extend(word.to_ne_bytes());
        }
        out.extend(&self.strings);
        out
    }
}
