// @tinybirdco/mockingbird: rows that it makes up are in the data source.
import { TinybirdGenerator } from "@tinybirdco/mockingbird";
import { query, same, teller, token, url } from "./common.mjs";

const tell = teller("@tinybirdco/mockingbird");
await tell("40 rows", async () => {
  const generator = new TinybirdGenerator({
    schema: {
      day: { type: "mockingbird.datetimeBetween", params: [{ start: "2026-01-01", end: "2026-01-02" }] },
      shop: { type: "mockingbird.pick", params: [{ values: ["a", "b"] }] },
      amount: { type: "number.int", params: [{ min: 1, max: 9 }] },
    },
    endpoint: url,
    token,
    datasource: "sales",
    eps: 40,
    limit: 40,
    logs: false,
  });
  await generator.generate();
  const sum = "(SELECT count() FROM sales) + (SELECT count() FROM sales_quarantine)";
  return same(await query(`SELECT ${sum} AS n`), [{ n: 40 }]);
});
