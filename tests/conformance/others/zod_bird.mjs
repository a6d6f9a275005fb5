// @chronark/zod-bird: rows in, and the data of an endpoint out.
import { Tinybird } from "@chronark/zod-bird";
import { z } from "zod";
import { query, same, teller, token, url } from "./common.mjs";

const tell = teller("@chronark/zod-bird");
const tb = new Tinybird({ token, baseUrl: url });
const sale = z.object({ day: z.string(), shop: z.string(), amount: z.number() });

await tell("ingest", async () => {
  const send = tb.buildIngestEndpoint({ datasource: "sales", event: sale });
  const sent = await send([{ day: "2026-01-01", shop: "a", amount: 1 }, { day: "2026-01-02", shop: "b", amount: 2 }]);
  return same([sent.successful_rows, sent.quarantined_rows], [2, 0]) || same(await query("SELECT count() AS n FROM sales"), [{ n: 2 }]);
});
await tell("endpoint with a parameter", async () => {
  const shops = tb.buildPipe({ pipe: "shops", parameters: z.object({ top: z.number() }), data: z.object({ shop: z.string(), sales: z.number() }) });
  return same((await shops({ top: 1 })).data, [{ shop: "a", sales: 1 }]);
});
await tell("an endpoint that there is not", async () => {
  const none = tb.buildPipe({ pipe: "none", data: z.object({}) });
  return none({}).then(() => "it answered", () => "");
});
