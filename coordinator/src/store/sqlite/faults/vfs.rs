//! SQLite's file system interface over the machines of tests: it only translates. A database is
//! at `/MACHINE/NAME`; time, randomness and sleeping are the default file system's.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::slice;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use rusqlite::ffi;

use super::disk::{Disk, Refusal};
use super::machine::{Handle, Level, Machine};

/// What `Connection::open_with_flags_and_vfs` calls it.
pub const NAME: &CStr = c"gradsweep-faulty";

static MACHINES: Mutex<BTreeMap<u64, Arc<Mutex<Machine>>>> = Mutex::new(BTreeMap::new());

/// Registers the file system once for the process; it is never taken back.
static REGISTERED: LazyLock<()> = LazyLock::new(|| {
    // SAFETY: finding the default file system has no precondition.
    let default = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    assert!(!default.is_null(), "SQLite has a default file system");
    // SAFETY: SQLite's own file system is valid for as long as the process runs, and plain data.
    let default = unsafe { *default };
    let ours = ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: c_int::try_from(size_of::<File>()).expect("two pointers"),
        mxPathname: 256,
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
        // These do not look at the file system that they are called with.
        ..default
    };
    // SAFETY: the leaked table and the name that it points to live as long as the process.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 0) };
    assert_eq!(code, ffi::SQLITE_OK);
});

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Connects a machine until `remove`.
pub fn add(machine: Arc<Mutex<Machine>>) -> u64 {
    LazyLock::force(&REGISTERED);
    let mut machines = MACHINES.lock().unwrap();
    let id = machines.last_key_value().map_or(1, |(last, _)| last + 1);
    machines.insert(id, machine);
    id
}

pub fn remove(id: u64) {
    MACHINES.lock().unwrap().remove(&id);
}

/// SQLite allocates it and knows its first field alone.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// A `Box`, from `open` to `close`.
    opened: *mut Opened,
}

struct Opened {
    machine: Arc<Mutex<Machine>>,
    handle: Handle,
}

impl Opened {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap()
    }
}

/// # Safety
/// `file` was filled by `open` and not yet closed.
unsafe fn opened<'f>(file: *mut ffi::sqlite3_file) -> &'f Opened {
    // SAFETY: by the contract `file` is the first field of a `File` whose box is alive; nothing
    // borrows it mutably.
    unsafe { &*(*file.cast::<File>()).opened }
}

/// The machine and the name on its disk.
///
/// # Safety
/// `path` is a string that ends with 0.
unsafe fn located(path: *const c_char) -> Option<(Arc<Mutex<Machine>>, String)> {
    // SAFETY: by the contract.
    let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
    let (id, name) = path.strip_prefix('/')?.split_once('/')?;
    let machine = Arc::clone(MACHINES.lock().unwrap().get(&id.parse().ok()?)?);
    Some((machine, name.into()))
}

/// SQLite's result code of an operation whose device errors are told as `device`.
fn code(done: Result<(), Refusal>, device: c_int) -> c_int {
    match done {
        Ok(()) => ffi::SQLITE_OK,
        Err(Refusal::Full) => ffi::SQLITE_FULL,
        Err(Refusal::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(Refusal::Device | Refusal::PowerOff) => device,
    }
}

fn level(code: c_int) -> Level {
    match code {
        ffi::SQLITE_LOCK_NONE => Level::None,
        ffi::SQLITE_LOCK_SHARED => Level::Shared,
        ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
        ffi::SQLITE_LOCK_PENDING => Level::Pending,
        ffi::SQLITE_LOCK_EXCLUSIVE => Level::Exclusive,
        _ => panic!("SQLite has no lock {code}"),
    }
}

fn size(number: impl TryInto<usize>) -> usize {
    number.try_into().ok().expect("SQLite's sizes and offsets are never negative")
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives room for a `File`; without methods it does not call `close`.
    unsafe { (*file).pMethods = ptr::null() };
    let found = if name.is_null() {
        // A temporary file is nobody else's: it has a disk of its own, which never fails.
        Some((Arc::new(Mutex::new(Machine::new(Disk::new(0)))), "temporary".to_owned()))
    } else {
        // SAFETY: a file name of SQLite ends with 0.
        unsafe { located(name) }
    };
    let Some((machine, name)) = found else { return ffi::SQLITE_CANTOPEN };
    let creates = flags & ffi::SQLITE_OPEN_CREATE != 0;
    let handle = {
        let machine = &mut *machine.lock().unwrap();
        let inode = match machine.disk.find(&name) {
            Ok(Some(inode)) => Ok(inode),
            Ok(None) if creates => machine.disk.create(&name),
            Ok(None) => Err(Refusal::Missing),
            Err(refusal) => Err(refusal),
        };
        let Ok(inode) = inode else { return ffi::SQLITE_CANTOPEN };
        // As on Unix: a journal's first sync is also that of the names, new file or not.
        let journals =
            ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;
        machine.open(inode, creates && flags & journals != 0)
    };
    let opened = Box::into_raw(Box::new(Opened { machine, handle }));
    // SAFETY: `file` has the size that was registered, and `flags_out` is null or valid.
    unsafe {
        file.cast::<File>().write(File { base: ffi::sqlite3_file { pMethods: &METHODS }, opened });
        if !flags_out.is_null() {
            *flags_out = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_directory: c_int,
) -> c_int {
    // SAFETY: SQLite gives a string.
    let Some((machine, name)) = (unsafe { located(name) }) else { return ffi::SQLITE_IOERR_DELETE };
    let done = machine.lock().unwrap().disk.delete(&name, sync_directory != 0);
    code(done, ffi::SQLITE_IOERR_DELETE)
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a string.
    let Some((machine, name)) = (unsafe { located(name) }) else { return ffi::SQLITE_IOERR_ACCESS };
    let Ok(found) = machine.lock().unwrap().disk.find(&name) else {
        return ffi::SQLITE_IOERR_ACCESS;
    };
    // SAFETY: SQLite gives room for the result.
    unsafe { *out = found.is_some().into() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives a string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if name.len() > size(room) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: `out` has `room` bytes of its own, and the name fits.
    unsafe { ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` made the box, and SQLite closes a file once and uses it no more.
    let opened = unsafe { Box::from_raw((*file.cast::<File>()).opened) };
    opened.machine().close(opened.handle);
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file and `length` bytes of its own.
    let (opened, out) =
        unsafe { (opened(file), slice::from_raw_parts_mut(out.cast::<u8>(), size(length))) };
    let machine = opened.machine();
    let Ok(bytes) = machine.disk.bytes(machine.inode(opened.handle)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    let found = bytes.get(size(at)..).unwrap_or_default();
    let found = &found[..found.len().min(out.len())];
    let (read, rest) = out.split_at_mut(found.len());
    read.copy_from_slice(found);
    rest.fill(0);
    if rest.is_empty() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file and `length` bytes.
    let (opened, bytes) =
        unsafe { (opened(file), slice::from_raw_parts(bytes.cast::<u8>(), size(length))) };
    let mut machine = opened.machine();
    let inode = machine.inode(opened.handle);
    code(machine.disk.write(inode, size(at), bytes), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file.
    let opened = unsafe { opened(file) };
    let mut machine = opened.machine();
    let inode = machine.inode(opened.handle);
    code(machine.disk.truncate(inode, size(length)), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite gives an open file.
    let opened = unsafe { opened(file) };
    code(opened.machine().sync(opened.handle), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file.
    let opened = unsafe { opened(file) };
    let machine = opened.machine();
    let Ok(bytes) = machine.disk.bytes(machine.inode(opened.handle)) else {
        return ffi::SQLITE_IOERR_FSTAT;
    };
    // SAFETY: SQLite gives room for the result.
    unsafe { *out = ffi::sqlite3_int64::try_from(bytes.len()).expect("a length") };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: SQLite gives an open file.
    let opened = unsafe { opened(file) };
    let locked = opened.machine().lock(opened.handle, level(wanted));
    locked.map_or(ffi::SQLITE_BUSY, |()| ffi::SQLITE_OK)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, kept: c_int) -> c_int {
    // SAFETY: SQLite gives an open file.
    let opened = unsafe { opened(file) };
    opened.machine().unlock(opened.handle, level(kept));
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite gives an open file and room for the result.
    let opened = unsafe { opened(file) };
    let is_reserved = opened.machine().is_reserved(opened.handle);
    // SAFETY: as above.
    unsafe { *out = is_reserved.into() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    // As on Unix: what SQLite takes for granted is more than what the disk tears.
    4096
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    // As on Unix.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    index: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite gives an open file.
    let opened = unsafe { opened(file) };
    let region = opened.machine().map(opened.handle, size(index), size(bytes), extend != 0);
    let address = region.map_or(ptr::null_mut(), |region| region.as_ptr().cast_mut().cast());
    // SAFETY: SQLite gives room for the result. The machine keeps the region until SQLite has
    // unmapped it; its atomics may be written through a shared reference.
    unsafe { *out = address };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite gives an open file.
    let opened = unsafe { opened(file) };
    let slots = size(first)..size(first) + size(count);
    let mut machine = opened.machine();
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        machine.unlock_shared(opened.handle, slots);
        return ffi::SQLITE_OK;
    }
    let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    let locked = machine.lock_shared(opened.handle, slots, exclusive);
    locked.map_or(ffi::SQLITE_BUSY, |()| ffi::SQLITE_OK)
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite gives an open file.
    let opened = unsafe { opened(file) };
    opened.machine().leave(opened.handle);
    ffi::SQLITE_OK
}
