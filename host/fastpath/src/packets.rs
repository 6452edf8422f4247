//! Packets for the tests of this crate, and a checksum of its own to judge the others by: one word at a time, as the RFCs tell it.

/// The sum of RFC 1071 over the concatenation of `parts`, by its definition.
pub fn naive_sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) * 256 + pair.get(1).map_or(0, |&low| u64::from(low));
        sum = sum % 0x1_0000 + sum / 0x1_0000;
    }
    sum as u16
}

/// A TCP or UDP packet to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    pub v6: bool,
    pub tcp: bool,
    pub port: u16,
    pub id: u16,
    pub dont_fragment: bool,
    pub ttl: u8,
    pub tos: u8,
    pub sequence: u32,
    pub acknowledged: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
    pub ip_options: Vec<u8>,
    pub data: Vec<u8>,
}

impl Sketch {
    /// TCP over IPv4, with the options that Linux sends (timestamps).
    pub fn tcp(sequence: u32, data: &[u8]) -> Self {
        Sketch {
            v6: false,
            tcp: true,
            port: 5201,
            id: 7,
            dont_fragment: true,
            ttl: 64,
            tos: 0,
            sequence,
            acknowledged: 99,
            flags: 0x10,
            window: 501,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            ip_options: vec![],
            data: data.to_vec(),
        }
    }

    /// UDP over IPv4.
    pub fn udp(data: &[u8]) -> Self {
        Sketch { tcp: false, options: vec![], ..Sketch::tcp(0, data) }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = [40_000, self.port].iter().flat_map(|port: &u16| port.to_be_bytes()).collect();
        if self.tcp {
            bytes.extend(self.sequence.to_be_bytes().iter().chain(&self.acknowledged.to_be_bytes()));
            bytes.extend([((20 + self.options.len()) / 4 * 16) as u8, self.flags]);
            bytes.extend(self.window.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(&self.options);
        } else {
            bytes.extend((8 + self.data.len() as u16).to_be_bytes());
            bytes.extend([0; 2]);
        }
        bytes.extend(&self.data);
        bytes
    }

    fn protocol(&self) -> u8 {
        if self.tcp { 6 } else { 17 }
    }

    /// Where the transport header begins.
    pub fn start(&self) -> usize {
        if self.v6 { 40 } else { 20 + self.ip_options.len() }
    }

    /// Where the transport checksum lies.
    pub fn checksum_at(&self) -> usize {
        self.start() + if self.tcp { 16 } else { 6 }
    }

    fn pseudo(&self, addresses: &[u8], len: usize) -> Vec<u8> {
        let mut pseudo = addresses.to_vec();
        pseudo.extend((len as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, self.protocol()]);
        pseudo
    }

    fn ip(&self, len: usize) -> Vec<u8> {
        if self.v6 {
            let mut header = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 9];
            header.extend((len as u16).to_be_bytes());
            header.extend([self.protocol(), self.ttl]);
            header.extend([1; 16]);
            header.extend([2; 16]);
            return header;
        }
        let mut header = vec![0x40 | (self.start() / 4) as u8, self.tos];
        header.extend(((self.start() + len) as u16).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, self.protocol(), 0, 0, 10, 5, 1, 2, 10, 5, 2, 2]);
        header.extend(&self.ip_options);
        let sum = !naive_sum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    /// The packet, its transport checksum complete or, as the kernel leaves it with offloads, only the pseudo header's sum.
    pub fn build(&self, complete: bool) -> Vec<u8> {
        let (transport, at) = (self.transport(), self.checksum_at());
        let mut packet = self.ip(transport.len());
        let addresses = if self.v6 { packet[8..40].to_vec() } else { packet[12..20].to_vec() };
        let pseudo = self.pseudo(&addresses, transport.len());
        let sum = match complete {
            true => match !naive_sum(&[&pseudo, &transport]) {
                0 => 0xffff,
                sum => sum,
            },
            false => naive_sum(&[&pseudo]),
        };
        packet.extend(transport);
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        packet
    }
}

/// Reads a packet back without any of the crate's own parsers, and checks every length and checksum in it.
pub fn read(packet: &[u8]) -> Sketch {
    let v6 = packet[0] >> 4 == 6;
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
    let start = if v6 { 40 } else { usize::from(packet[0] % 16) * 4 };
    assert_eq!(usize::from(if v6 { word(4) + 40 } else { word(2) }), packet.len(), "length in the IP header");
    assert!(v6 || naive_sum(&[&packet[..start]]) == 0xffff, "IPv4 checksum");
    let tcp = packet[if v6 { 6 } else { 9 }] == 6;
    let data = start + if tcp { usize::from(packet[start + 12] >> 4) * 4 } else { 8 };
    assert!(tcp || usize::from(word(start + 4)) == packet.len() - start, "length in the UDP header");
    let sketch = Sketch {
        v6,
        tcp,
        port: word(start + 2),
        id: if v6 { 0 } else { word(4) },
        dont_fragment: !v6 && packet[6] & 0x40 != 0,
        ttl: packet[if v6 { 7 } else { 8 }],
        tos: if v6 { packet[0] << 4 | packet[1] >> 4 } else { packet[1] },
        sequence: if tcp { long(start + 4) } else { 0 },
        acknowledged: if tcp { long(start + 8) } else { 0 },
        flags: if tcp { packet[start + 13] } else { 0 },
        window: if tcp { word(start + 14) } else { 0 },
        options: packet[(start + if tcp { 20 } else { 8 })..data].to_vec(),
        ip_options: if v6 { vec![] } else { packet[20..start].to_vec() },
        data: packet[data..].to_vec(),
    };
    let addresses = if v6 { &packet[8..40] } else { &packet[12..20] };
    let pseudo = sketch.pseudo(addresses, packet.len() - start);
    assert_eq!(naive_sum(&[&pseudo, &packet[start..]]), 0xffff, "transport checksum");
    sketch
}
