//! Names that the broker chooses: `amq.gen-…` for queues, `amq.ctag-…` for consumers.

/// The alphabet of RabbitMQ's generated names: base64 that is safe in URLs.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How many characters follow the prefix: 16 bytes in base64, without padding.
const LENGTH: usize = 22;

/// Generates names that look as RabbitMQ's do, the same ones for the same seed.
#[derive(Debug)]
pub(crate) struct NameGenerator {
    state: u64,
}

impl NameGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// `prefix`, a hyphen and 22 characters.
    pub(crate) fn generate(&mut self, prefix: &str) -> String {
        let mut name = String::with_capacity(prefix.len() + 1 + LENGTH);
        name.push_str(prefix);
        name.push('-');
        self.push_random(&mut name);
        name
    }

    /// `prefix` and two words of 22 characters, parted by a dot: RabbitMQ has a process's id and
    /// a key there.
    pub(crate) fn reply_address(&mut self, prefix: &str) -> String {
        let mut address = String::with_capacity(prefix.len() + 1 + 2 * LENGTH);
        address.push_str(prefix);
        self.push_random(&mut address);
        address.push('.');
        self.push_random(&mut address);
        address
    }

    fn push_random(&mut self, name: &mut String) {
        let mut bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        for _ in 0..LENGTH {
            name.extend(ALPHABET.get((bits & 63) as usize).map(|c| char::from(*c)));
            bits >>= 6;
        }
    }

    /// SplitMix64: every state leads to another number, so no two names of a run are equal.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_rabbitmqs_shape_differ_and_repeat_with_the_seed() {
        let mut names = NameGenerator::new(7);
        let (first, second) = (names.generate("amq.gen"), names.generate("amq.gen"));
        assert_ne!(first, second);
        assert_eq!(first, NameGenerator::new(7).generate("amq.gen"));
        let random = first.strip_prefix("amq.gen-").unwrap();
        assert_eq!(random.len(), 22);
        assert!(random.bytes().all(|b| ALPHABET.contains(&b)), "{first}");
    }
}
