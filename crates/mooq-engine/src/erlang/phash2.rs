//! `erlang:phash2/1`: the same hash on every machine and in every release of Erlang/OTP
//! ([its documentation](https://www.erlang.org/doc/apps/erts/erlang.html#phash2/1)).
//!
//! The hash is Bob Jenkins' of 1996 over the parts of a term, each mixed in with a constant that
//! stands for the part's type.

/// The golden ratio, of which the constants of the types are multiples.
const RATIO: u32 = 0x9e37_79b9;

/// The constant of a type.
const fn constant(factor: u32) -> u32 {
    RATIO.wrapping_mul(factor)
}

const INTEGER: u32 = constant(1);
const NIL: u32 = constant(2);
const ATOM: u32 = constant(3);
const TUPLE: u32 = constant(9);
const NEGATIVE_BIG: u32 = constant(10);
const POSITIVE_BIG: u32 = constant(11);
const FLOAT: u32 = constant(12);
const BINARY: u32 = constant(13);

/// Number of values that `phash2/1` has.
const RANGE: u32 = 1 << 27;

/// An Erlang term, as far as message properties turn into one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term<'a> {
    Atom(&'static str),
    Integer(i128),
    Float(f64),
    Binary(&'a [u8]),
    Tuple(Vec<Self>),
    /// A list without integers. Erlang hashes the integers in a list in another way.
    List(Vec<Self>),
}

/// Returns the hash of a term, below 2^27.
pub(crate) fn phash2(term: &Term<'_>) -> u32 {
    mixed_in(term, 0) % RANGE
}

/// Returns the hash of a term as a whole, as `phash2/2` does with a range of 2^32.
pub(crate) fn phash2_whole(term: &Term<'_>) -> u32 {
    mixed_in(term, 0)
}

/// Returns the hash of a term that follows others with the hash `hash`.
fn mixed_in(term: &Term<'_>, hash: u32) -> u32 {
    match term {
        Term::Atom(name) if hash == 0 => atom_hash(name),
        Term::Atom(name) => mix_pair(atom_hash(name), 0, ATOM, hash),
        Term::Integer(value) => integer(*value, hash),
        Term::Float(value) => {
            // -0.0 is 0.0.
            let bits = if *value == 0.0 { 0 } else { value.to_bits() };
            mix_pair(high(bits), low(bits), FLOAT, hash)
        }
        Term::Binary(bytes) => binary(bytes, BINARY.wrapping_add(hash)),
        Term::Tuple(elements) => {
            let arity = u32::try_from(elements.len()).unwrap_or(u32::MAX);
            let hash = mix_pair(arity, 0, TUPLE, hash);
            elements.iter().fold(hash, |hash, e| mixed_in(e, hash))
        }
        Term::List(elements) => {
            let hash = elements.iter().fold(hash, |hash, e| mixed_in(e, hash));
            if hash == 0 {
                return 3_468_870_702;
            }
            mix_pair(2, 0, NIL, hash)
        }
    }
}

fn integer(value: i128, hash: u32) -> u32 {
    const SMALL: std::ops::Range<i128> = -(1 << 27)..1 << 27;
    let magnitude = value.unsigned_abs();
    if SMALL.contains(&value) {
        // Negative integers go in twice, their opposites first.
        let mut hash = hash;
        if value < 0 {
            hash = mix_pair(low(truncated(magnitude)), 0, INTEGER, hash);
        }
        let twos_complement = value as u32;
        return mix_pair(twos_complement, 0, INTEGER, hash);
    }
    let constant = if value < 0 {
        NEGATIVE_BIG
    } else {
        POSITIVE_BIG
    };
    let mut hash = hash;
    let mut rest = magnitude;
    while rest > 0 {
        let digit = truncated(rest);
        hash = mix_pair(low(digit), high(digit), constant, hash);
        rest >>= 64;
    }
    hash
}

fn truncated(value: u128) -> u64 {
    value as u64
}

fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

fn mix_pair(first: u32, second: u32, constant: u32, hash: u32) -> u32 {
    mix(
        constant.wrapping_add(first),
        constant.wrapping_add(second),
        hash,
    )
    .2
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    let step = |x: u32, y: u32, z: u32, bits: u32| x.wrapping_sub(y).wrapping_sub(z) ^ bits;
    for (down, up, last) in [(13, 8, 13), (12, 16, 5), (3, 10, 15)] {
        a = step(a, b, c, c >> down);
        b = step(b, c, a, a << up);
        c = step(c, a, b, b >> last);
    }
    (a, b, c)
}

/// Returns the hash of bytes. No bytes at all leave the initial value as it is.
fn binary(bytes: &[u8], initial: u32) -> u32 {
    if bytes.is_empty() {
        return initial;
    }
    let word = |bytes: &[u8]| {
        let at = |(place, byte): (usize, &u8)| u32::from(*byte) << (8 * place);
        bytes.iter().enumerate().map(at).sum::<u32>()
    };
    let (mut a, mut b, mut c) = (RATIO, RATIO, initial);
    let blocks = bytes.chunks_exact(12);
    let rest = blocks.remainder();
    for block in blocks {
        let (first, others) = block.split_at(4);
        let (second, third) = others.split_at(4);
        a = a.wrapping_add(word(first));
        b = b.wrapping_add(word(second));
        c = c.wrapping_add(word(third));
        (a, b, c) = mix(a, b, c);
    }
    let (first, others) = rest.split_at(rest.len().min(4));
    let (second, third) = others.split_at(others.len().min(4));
    a = a.wrapping_add(word(first));
    b = b.wrapping_add(word(second));
    // The lowest byte of the last word is for the length.
    c = c.wrapping_add(word(third) << 8);
    c = c.wrapping_add(bytes.len() as u32);
    mix(a, b, c).2
}

/// Returns the hash of an atom: P. J. Weinberger's over the letters of its name.
fn atom_hash(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let top = hash & 0xf000_0000;
        hash ^ (top >> 24) ^ top
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes from `erlang:phash2/1` of Erlang/OTP 25 and 27.
    #[test]
    fn terms_hash_as_in_erlang() {
        let longstr = |text| Term::Tuple(vec![Term::Atom("longstr"), Term::Binary(text)]);
        let typed = |name, value| Term::Tuple(vec![Term::Atom(name), value]);
        let number = |name, value| typed(name, Term::Integer(value));
        for (term, hash) in [
            (Term::Binary(b""), 13_708_901),
            (Term::Binary(b"a"), 112_802_447),
            (
                Term::Binary(b"hello world, long enough for two blocks"),
                41_976_408,
            ),
            (Term::List(vec![Term::Binary(b"a")]), 53_691_870),
            (
                Term::List(vec![Term::Binary(b"a"), Term::Binary(b"b")]),
                3_094_894,
            ),
            (Term::List(vec![Term::Binary(b"")]), 38_220_213),
            (Term::Atom("undefined"), 45_914_356),
            (Term::Atom("true"), 506_293),
            (Term::Atom("false"), 7_111_573),
            (longstr(b"v"), 83_007_481),
            (longstr(b"abcdefghijkl"), 43_857_948),
            (number("signedint", 5), 40_839_585),
            (number("signedint", -5), 39_932_925),
            (number("signedint", 134_217_727), 17_240_753),
            (number("signedint", 134_217_728), 127_254_635),
            (number("signedint", -134_217_728), 65_405_468),
            (number("signedint", -134_217_729), 11_977_661),
            (number("signedint", 2_147_483_647), 5_810_026),
            (number("long", 1_099_511_627_776), 93_748_608),
            (number("long", -1_099_511_627_776), 32_506_873),
            (number("long", 1_152_921_504_606_846_976), 106_028_369),
            (number("long", i64::MAX.into()), 120_433_834),
            (number("long", i64::MIN.into()), 112_631_110),
            (typed("double", Term::Float(1.5)), 115_320_697),
            (Term::Float(1.5), 10_380_315),
            (Term::Float(0.0), 20_875_736),
            (Term::Float(-0.0), 20_875_736),
            (typed("bool", Term::Atom("true")), 32_030_443),
            (number("timestamp", 12), 2_530_266),
            (
                typed(
                    "decimal",
                    Term::Tuple(vec![Term::Integer(2), Term::Integer(314)]),
                ),
                113_508_173,
            ),
            (
                typed("array", Term::List(vec![number("signedint", 1)])),
                68_270_968,
            ),
            (
                typed(
                    "table",
                    Term::List(vec![Term::Tuple(vec![
                        Term::Binary(b"a"),
                        Term::Atom("longstr"),
                        Term::Binary(b"b"),
                    ])]),
                ),
                106_109_854,
            ),
            (typed("binary", Term::Binary(&[1, 2])), 115_591_744),
            (typed("void", Term::Atom("undefined")), 27_077_197),
            (Term::Integer(5), 5_878_562),
            (Term::Integer(-5), 115_015_680),
            (Term::Integer(1_099_511_627_776), 13_893_919),
        ] {
            assert_eq!(phash2(&term), hash, "{term:?}");
        }
    }
}
