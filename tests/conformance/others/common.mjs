// What the scripts share: where the sandbox is, and how they say what came of a step.
export const url = process.env.CONFORMANCE_URL;
export const token = process.env.CONFORMANCE_TOKEN;

export async function query(sql) {
  const answer = await fetch(`${url}/v0/sql?q=${encodeURIComponent(`${sql} FORMAT JSON`)}`, {
    headers: { Authorization: `Bearer ${token}` },
  });
  return (await answer.json()).data;
}

export function teller(client) {
  return async (did, step) => {
    let why = "";
    try {
      why = (await step()) || "";
    } catch (error) {
      why = `${error.name}: ${error.message}`;
    }
    console.log(JSON.stringify({ client, did, why }));
  };
}

export const same = (found, wanted) =>
  JSON.stringify(found) === JSON.stringify(wanted) ? "" : `${JSON.stringify(found)}, expected ${JSON.stringify(wanted)}`;
