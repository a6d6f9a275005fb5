from test_table import *
import pytest, time
def test_print(run):
    for fault in FAULTS:
        row = []
        for name in CASES:
            t=time.time()
            try: row.append(run(name, FAULTS[fault]).short + (f" {time.time()-t:.0f}s" if time.time()-t>1 else ""))
            except Exception as e: row.append(f"RAW {type(e).__name__} {str(e)[:60]}")
        print(f"{fault:45}", " | ".join(dict.fromkeys(row)))
