//! Names that the broker generates: `amq.gen-…` for queues, `amq.ctag-…` for consumers.

use super::random::Random;

/// Alphabet of RabbitMQ's generated names: base64 that is safe in URLs.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Number of characters after the prefix: 16 bytes in base64, without padding.
const LENGTH: usize = 22;

/// Generates names in RabbitMQ's format. The same seed gives the same names.
#[derive(Debug)]
pub(crate) struct NameGenerator {
    random: Random,
}

impl NameGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
        }
    }

    /// Returns `prefix`, a hyphen and 22 characters.
    pub(crate) fn generate(&mut self, prefix: &str) -> String {
        let mut name = String::with_capacity(prefix.len() + 1 + LENGTH);
        name.push_str(prefix);
        name.push('-');
        self.push_random(&mut name);
        name
    }

    /// Returns `prefix` and two words of 22 characters, separated by a dot. RabbitMQ puts a
    /// process's id and a key there.
    pub(crate) fn reply_address(&mut self, prefix: &str) -> String {
        let mut address = String::with_capacity(prefix.len() + 1 + 2 * LENGTH);
        address.push_str(prefix);
        self.push_random(&mut address);
        address.push('.');
        self.push_random(&mut address);
        address
    }

    fn push_random(&mut self, name: &mut String) {
        let mut bits = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        for _ in 0..LENGTH {
            name.extend(ALPHABET.get((bits & 63) as usize).map(|c| char::from(*c)));
            bits >>= 6;
        }
    }
}

/// True if `word` can be the part of an address that stands for a channel.
pub(crate) fn is_reply_word(word: &str) -> bool {
    word.len() == LENGTH && word.bytes().all(|byte| ALPHABET.contains(&byte))
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
