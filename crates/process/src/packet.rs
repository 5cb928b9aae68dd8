//! A socket whose messages are packets that may bring file descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg,
    setsockopt, socketpair, sockopt,
};

/// The longest packet: a command line and an environment of what Linux takes for one argument, with room.
pub const MAX_PACKET: usize = 400 * 1024;
/// Descriptors that one packet may bring.
pub const MAX_DESCRIPTORS: usize = 8;

/// One end of a pair of connected sockets.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Two connected ends. Both close when a program is executed, unless they are handed over on purpose.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        for fd in [&a, &b] {
            setsockopt(fd, sockopt::SndBuf, &(2 * MAX_PACKET))?;
        }
        Ok((Self { fd: a }, Self { fd: b }))
    }

    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Closes the connection for both ends, whoever else holds them.
    pub fn shutdown(&self) {
        let _ = nix::sys::socket::shutdown(self.fd.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    /// Sends one packet. It is taken whole or not at all; waits while the other end's queue is full.
    pub fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(packet, descriptors, MsgFlags::empty())
    }

    /// As [`Self::send`], but does not wait: a full queue says [`io::ErrorKind::WouldBlock`].
    pub(crate) fn try_send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(packet, descriptors, MsgFlags::MSG_DONTWAIT)
    }

    fn send_with(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>], flags: MsgFlags) -> io::Result<()> {
        let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        loop {
            let sent = sendmsg::<UnixAddr>(
                self.fd.as_raw_fd(),
                &[IoSlice::new(packet)],
                control,
                MsgFlags::MSG_NOSIGNAL | flags,
                None,
            );
            match sent {
                Ok(_) => return Ok(()),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for one packet and the descriptors that came with it; `None` when the other end is closed.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        self.receive_with(buffer, MsgFlags::empty())
    }

    /// As [`Self::receive`], but does not wait: where there is no packet, it says [`io::ErrorKind::WouldBlock`].
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        self.receive_with(buffer, MsgFlags::MSG_DONTWAIT)
    }

    fn receive_with(&self, buffer: &mut [u8], flags: MsgFlags) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        let mut control = cmsg_space!([RawFd; MAX_DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(buffer)];
        let message = loop {
            let flags = MsgFlags::MSG_CMSG_CLOEXEC | flags;
            match recvmsg::<UnixAddr>(self.fd.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(message) => break message,
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let mut descriptors = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                descriptors.extend(raw.into_iter().map(own));
            }
        }
        let length = message.bytes;
        Ok((length > 0).then_some((length, descriptors)))
    }
}

/// Sends bytes with a descriptor over a connected stream; returns how many bytes were taken. Does not wait: a stream
/// that takes nothing now says [`io::ErrorKind::WouldBlock`].
pub fn send_with_descriptor(stream: BorrowedFd<'_>, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<usize> {
    let raw = [descriptor.as_raw_fd()];
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let rights = [ControlMessage::ScmRights(&raw)];
    Ok(sendmsg::<UnixAddr>(stream.as_raw_fd(), &[IoSlice::new(bytes)], &rights, flags, None)?)
}

/// Takes ownership of a descriptor that the kernel has just made for this process.
#[allow(unsafe_code, reason = "the kernel hands descriptors over as bare numbers, and there is no safe way to own one")]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: `recvmsg` has just installed this descriptor here; nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
