//! Joins consecutive segments of a flow into super-packets, so that the kernel takes them in one crossing: the reverse of [`crate::split`].
//!
//! A packet joins the latest group of its flow when splitting the result would give it back as it was: same headers but for lengths,
//! checksums, IPv4 identification, sequence number and a last PSH, the next sequence number, and data of the same length as all before it
//! (a shorter one is the last). Flags other than ACK and PSH, IP options, extension headers, fragments, other protocols and datagrams
//! without checksum are left alone, and nothing whose checksum is wrong ever joins. Groups stand in the order of their first packets and a
//! packet joins only the latest group of its flow, so that order within a flow is kept.
//!
//! Pure: packets are [`Place`]s in one buffer of the caller's, to which nothing is written.

use crate::merge::{Shape, follows};
use crate::transport::{Protocol, addresses};

/// The most packets in a group: what UDP super-packets may have on every kernel, and what a vector of slices has room for.
pub const MOST: usize = 64;
/// Flows that are held open at once.
const FLOWS: usize = 16;

/// Where a packet lies in the buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub start: u32,
    /// Its length.
    pub len: u32,
}

impl Place {
    /// The packet.
    pub fn of<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[self.start as usize..][..self.len as usize]
    }
}

/// Packets that go on together; most often of one flow and many, or one alone.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The first packet.
    pub first: Place,
    /// Who sent them all, as given to [`Coalescer::push`].
    pub origin: u32,
    /// How many.
    pub count: usize,
    /// Bytes of all the packets.
    pub bytes: usize,
    pub(crate) shape: Option<Shape>,
    /// Data bytes of all.
    pub(crate) data: usize,
    /// The last one has PSH.
    pub(crate) pushed: bool,
    closed: bool,
    first_is_right: bool,
    head: u32,
    tail: u32,
}

impl Group {
    /// Length of the headers of each of its packets; 0 of one that was joined with nothing, which goes on with its own.
    pub fn head_len(&self) -> usize {
        self.shape.filter(|_| self.count > 1).map_or(0, |shape| shape.layout.data)
    }

    /// A packet of that many bytes from the same sender, as a group of its own, which no coalescer knows.
    pub(crate) fn alone(&self, bytes: usize) -> Group {
        Group { count: 1, bytes, shape: None, data: 0, pushed: false, ..*self }
    }
}

/// Which protocols are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joins {
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
}

/// Groups the packets of one batch. Its room is kept from batch to batch.
#[derive(Debug)]
pub struct Coalescer {
    joins: Joins,
    members: Vec<(Place, u32)>,
    groups: Vec<Group>,
    /// The latest group of each flow that was seen last, by a hash of the flow.
    open: [Option<(u64, u32)>; FLOWS],
    turn: usize,
    /// The slot of the last packet whose flow could be told.
    latest: usize,
}

impl Coalescer {
    /// An empty one.
    pub fn new(joins: Joins) -> Self {
        Coalescer { joins, members: Vec::new(), groups: Vec::new(), open: [None; FLOWS], turn: 0, latest: 0 }
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.members.clear();
        self.groups.clear();
        self.open = [None; FLOWS];
    }

    /// The groups, in the order in which they are to go on.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The packets of a group, in order. Only until [`crate::pieces`] moves their data.
    pub fn members(&self, group: &Group) -> impl Iterator<Item = Place> {
        let mut next = group.head;
        (0..group.count).map(move |_| {
            let (place, after) = self.members[next as usize];
            next = after;
            place
        })
    }

    /// Adds the packet at `place`, whose IP header was checked; packets of different origins are never joined.
    pub fn push(&mut self, buffer: &[u8], place: Place, origin: u32) {
        let packet = place.of(buffer);
        let shape = match Shape::of(packet) {
            Some(shape) if self.takes(&shape) => shape,
            other => {
                if other.is_none() {
                    self.close_between(buffer, packet);
                }
                self.begin(place, origin, None);
                return;
            }
        };
        match self.find(buffer, packet, &shape) {
            Ok(slot) => {
                self.latest = slot;
                if let Some((hash, group)) = self.open[slot]
                    && !self.join(buffer, group, place, origin, &shape)
                {
                    self.open[slot] = Some((hash, self.begin(place, origin, Some(shape))));
                }
            }
            Err(hash) => {
                self.open[self.turn] = Some((hash, self.begin(place, origin, Some(shape))));
                self.latest = self.turn;
                self.turn = (self.turn + 1) % FLOWS;
            }
        }
    }

    fn takes(&self, shape: &Shape) -> bool {
        match shape.layout.protocol {
            Protocol::Tcp => self.joins.tcp,
            Protocol::Udp => self.joins.udp,
        }
    }

    /// The slot of the packet's flow, which mostly is that of the packet before; or the flow's hash, when it is not among those seen last.
    fn find(&self, buffer: &[u8], packet: &[u8], shape: &Shape) -> Result<usize, u64> {
        let is_flow = |group: u32| {
            let group = &self.groups[group as usize];
            group.shape.is_some_and(|other| other.is_same_flow(group.first.of(buffer), shape, packet))
        };
        if self.open[self.latest].is_some_and(|(_, group)| is_flow(group)) {
            return Ok(self.latest);
        }
        let hash = shape.flow_hash(packet);
        self.open.iter().position(|open| open.is_some_and(|(other, group)| other == hash && is_flow(group))).ok_or(hash)
    }

    fn begin(&mut self, place: Place, origin: u32, shape: Option<Shape>) -> u32 {
        let member = self.members.len() as u32;
        self.members.push((place, 0));
        let data = shape.map_or(0, |shape| place.len as usize - shape.layout.data);
        self.groups.push(Group {
            first: place,
            origin,
            count: 1,
            bytes: place.len as usize,
            shape,
            data,
            pushed: shape.is_some_and(|shape| shape.pushed),
            closed: shape.is_none_or(|shape| !shape.joins || shape.pushed),
            first_is_right: false,
            head: member,
            tail: member,
        });
        self.groups.len() as u32 - 1
    }

    fn join(&mut self, buffer: &[u8], number: u32, place: Place, origin: u32, shape: &Shape) -> bool {
        let (group, packet) = (&mut self.groups[number as usize], place.of(buffer));
        let Some(first_shape) = group.shape else { return false };
        let size = group.first.len as usize - first_shape.layout.data;
        let data = packet.len() - shape.layout.data;
        let fits = !group.closed && group.origin == origin && shape.joins && group.count < MOST && data <= size;
        let first = group.first.of(buffer);
        if !fits || !follows(first, &first_shape, group.count, group.data, packet) || !shape.layout.has_right_checksum(packet) {
            return false;
        }
        if !group.first_is_right && !first_shape.layout.has_right_checksum(first) {
            group.closed = true;
            return false;
        }
        let member = self.members.len() as u32;
        self.members.push((place, 0));
        self.members[group.tail as usize].1 = member;
        (group.tail, group.first_is_right, group.pushed) = (member, true, shape.pushed);
        (group.count, group.bytes, group.data) = (group.count + 1, group.bytes + packet.len(), group.data + data);
        group.closed = shape.pushed || data < size;
        true
    }

    /// A packet whose flow cannot be told, such as a later fragment, must stay behind all that its source sent before it, and before all that
    /// it sends later.
    fn close_between(&mut self, buffer: &[u8], packet: &[u8]) {
        for open in &mut self.open {
            let other = open.map(|(_, group)| self.groups[group as usize].first.of(buffer));
            if other.is_some_and(|other| other[0] >> 4 == packet[0] >> 4 && addresses(other) == addresses(packet)) {
                *open = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
