// @tinybirdco/sdk: builds and deployments of a project.
import { query, same, teller, token, url } from "./common.mjs";

const tell = teller("@tinybirdco/sdk");
// What its command line calls; the package does not export it.
const part = (name) => import(new URL(`./node_modules/@tinybirdco/sdk/dist/api/${name}.js`, import.meta.url).href);
const { buildToTinybird } = await part("build");
const { deployToMain } = await part("deploy");
const config = { baseUrl: url, token };
const schema = "SCHEMA >\n    `id` UInt64 `json:$.id`\n\nENGINE MergeTree\nENGINE_SORTING_KEY id\n";
const node = (sql) => `NODE n\nSQL >\n    ${sql}\n\nTYPE endpoint\n`;
const project = (sql) => ({ datasources: [{ name: "orders", content: schema }], pipes: [{ name: "counted", content: node(sql) }], connections: [] });

await tell("build", async () => {
  const built = await buildToTinybird(config, project("SELECT count() AS n FROM orders"));
  return built.success ? same(await query("SELECT n FROM counted"), [{ n: 0 }]) : built.error;
});
await tell("build that is wrong", async () => {
  const built = await buildToTinybird(config, project("SELECT nope FROM orders"));
  return built.success ? "it was taken" : "";
});
await tell("deploy", async () => {
  const deployed = await deployToMain(config, project("SELECT count() + 1 AS n FROM orders"));
  return deployed.success ? same(await query("SELECT n FROM counted"), [{ n: 1 }]) : deployed.error;
});
await tell("deploy that drops a data source", async () => {
  const deployed = await deployToMain(config, { datasources: [], pipes: [{ name: "other", content: node("SELECT 1 AS x") }], connections: [] });
  return deployed.success ? "it was taken" : "";
});
