/**
 * What the interpreter of the sandbox runs first: it gives up what a program may not have, says what it gave up, and runs the program in
 * itself. It is Python, because only a process can close itself in for good without a privilege.
 *
 * On Linux: Landlock for files (nothing is written outside the folder), a seccomp filter for processes, signals, sockets and what else acts
 * on the machine, limits of the process, and no capabilities. Numbers of system calls are those of x86-64 and arm64.
 */
export const sandboxProgram = String.raw`
import json, os, signal, sys
asked = json.loads(sys.stdin.buffer.read())
control = 3
os.set_inheritable(control, False)
os.chdir(asked['folder'])
null = os.open('/dev/null', os.O_RDONLY)
os.dup2(null, 0)
kept = []
# Where whoever asked is gone, nothing is left running.
if hasattr(signal, 'alarm'):
    signal.alarm(2 * asked['seconds'] + 5)

def limited():
    import resource
    mebibyte = 1 << 20
    def limit(which, value, more=0):
        hard = resource.getrlimit(which)[1]
        least = lambda value: value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (least(value), least(value + more)))
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, asked['fileSize'] * mebibyte)
    limit(resource.RLIMIT_NOFILE, 64)
    limit(resource.RLIMIT_CPU, asked['seconds'], 1)  # a second later it cannot be ignored
    if 'system' not in kept:  # it counts all that a user runs; the filter starts nothing at all
        limit(resource.RLIMIT_NPROC, 64)
    limit(resource.RLIMIT_AS, asked['memory'] * mebibyte)

def closed_in():
    import ctypes, platform, struct
    libc = ctypes.CDLL(None, use_errno=True)
    machine = platform.machine()
    system = {'x86_64': 0, 'aarch64': 1, 'arm64': 1}.get(machine)
    if not sys.platform.startswith('linux') or system is None:
        return
    u64 = ctypes.c_ulong
    def prctl(option, value, more=0):
        return libc.prctl(option, u64(value), u64(more), u64(0), u64(0)) == 0
    prctl(1, 9)  # PR_SET_PDEATHSIG
    if not prctl(38, 1):  # PR_SET_NO_NEW_PRIVS
        return
    # Landlock: every way to change a file, which the folder alone has.
    abi = libc.syscall(444, None, u64(0), 1)
    if abi >= 1:
        write = 2 | 0x1ff0 | (0x2000 if abi >= 2 else 0) | (0x4000 if abi >= 3 else 0)
        attributes = struct.pack('Q', write)
        ruleset = libc.syscall(444, attributes, u64(len(attributes)), 0)
        if ruleset >= 0:
            def allow(path, access):
                opened = os.open(path, os.O_PATH)
                rule = struct.pack('=Qi', access, opened)
                return libc.syscall(445, ruleset, 1, rule, 0) == 0
            allowed = allow('.', write) and allow('/dev/null', write & (2 | 0x4000))
            if allowed and libc.syscall(446, ruleset, 0) == 0:
                kept.append('files')
    # No capabilities, as root too.
    for capability in range(64):
        prctl(24, capability)  # PR_CAPBSET_DROP
    libc.capset(struct.pack('Ii', 0x20080522, 0), struct.pack('6I', *([0] * 6)))
    audit = (0xc000003e, 0xc00000b7)[system]
    refused = (
        # x86-64: processes, programs, sockets, signals
        (57, 58, 59, 322, 41, 200, 129, 297, 424, 434, 438, 101, 310, 311, 425, 426,
         165, 166, 308, 272, 321, 250, 248, 249, 298, 323, 319, 29, 68, 64, 240,
         90, 91, 92, 93, 94, 268, 260, 452, 132, 235, 280, 261, 188, 189, 190, 197, 198, 199),
        (221, 281, 198, 130, 138, 240, 424, 434, 438, 117, 270, 271, 425, 426,
         40, 39, 268, 97, 280, 219, 217, 218, 241, 282, 279, 194, 186, 190, 180,
         52, 53, 54, 55, 88, 452, 5, 6, 7, 14, 15, 16),
    )[system]
    clone, kill, tgkill, prlimit = ((56, 62, 234, 302), (220, 129, 131, 261))[system]
    prctl_number = (157, 167)[system]
    refuse, absent, fine = 0x00050001, 0x00050026, 0x7fff0000
    code = []
    def step(operation, value, then=0, other=0):
        code.append(struct.pack('=HBBI', operation, then, other, value))
    load, equal, set_bits, at_least, back = 0x20, 0x15, 0x45, 0x35, 0x06
    step(load, 4)
    step(equal, audit, 1, 0)
    step(back, refuse)
    step(load, 0)
    step(at_least, 0x40000000, 0, 1)
    step(back, refuse)
    for number in refused:
        step(equal, number, 0, 1)
        step(back, refuse)
    step(equal, 435, 0, 1)  # clone3, whose flags a filter cannot see
    step(back, absent)
    # What ends it with whoever asked stays as it is set.
    step(equal, prctl_number, 0, 4)
    step(load, 16)
    step(equal, 1, 0, 1)
    step(back, refuse)
    step(back, fine)
    # Threads, signals to itself, and its own limits.
    for number, test, value in ((clone, set_bits, 0x10000), (kill, equal, os.getpid()), (tgkill, equal, os.getpid()), (prlimit, equal, 0)):
        step(equal, number, 0, 4)
        step(load, 16)
        step(test, value, 1, 0)
        step(back, refuse)
        step(back, fine)
    step(back, fine)
    program = ctypes.create_string_buffer(b''.join(code))
    filtered = struct.pack('@HP', len(code), ctypes.addressof(program))
    if libc.prctl(22, u64(2), filtered, u64(0), u64(0)) == 0:
        kept.append('system')

try:
    closed_in()
except Exception:
    pass
try:
    limited()
    kept.append('limits')
except Exception:
    pass
os.write(control, (json.dumps(kept) + '\n').encode())
import types
module = types.ModuleType('program')
sys.modules['program'] = module
sys.argv = ['program.py']
# What says how it ended is out of the reach of names that a program may bind anew.
def judged(control, text, done, write=os.write, leave=os._exit, run=exec, build=compile, kind=type):
    try:
        run(build(text, 'program.py', 'exec'), module.__dict__)
    except BaseException as error:
        write(control, b'failed ' + kind(error).__name__.encode() + b'\n')
        while True:
            leave(1)
    else:
        write(control, done)
        leave(0)
text, done = asked['program'], (asked['done'] + '\n').encode()
del asked
judged(control, text, done)
`
