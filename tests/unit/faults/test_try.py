import os, time
from faulty_tinybird import EARLY, FAULTS, SLOW
from fault_cases import *
def test_print(tmp_path, caplog):
    start=time.process_time()
    with impatient():
        for fault in FAULTS:
            groups = {}
            for name, case in CASES.items():
                t=time.time()
                try:
                    e = run(case, FAULTS[fault], tmp_path, caplog)
                    r = ("green" if e.is_green else "RED" + ("?" if e.is_unknown else "") + ("~" if e.is_retried else "")) + f" {e.sent}"
                except BaseException as e: r = f"RAW {type(e).__name__} {str(e)[:160]}"
                if time.time()-t>1: r += f" {time.time()-t:.0f}s"
                groups.setdefault(r, []).append(name)
            print(f"{fault:45}", " | ".join(f"{r}: {','.join(n)}" for r,n in groups.items()), file=open('/tmp/try3.out','a'), flush=True)
    print("CPU", time.process_time()-start, file=open('/tmp/try3.out','a'))
