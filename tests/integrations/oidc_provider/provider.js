// A certified OpenID provider with one client and two people: node provider.js PORT BACK
import Provider from "oidc-provider";

const [port, back] = process.argv.slice(2);
const groups = { ann: ["carers"], bob: ["visitors"] };

const provider = new Provider(`http://localhost:${port}`, {
  clients: [{ client_id: "familiar", client_secret: "a secret of both", redirect_uris: [back] }],
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: groups[id] ?? [] }),
  }),
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true } },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
