// Makes the container `msglog` in the Azurite beside it: one PUT signed with the emulator's public key.
const crypto = require("crypto");
const http = require("http");
const [account, container] = ["devstoreaccount1", "msglog"];
const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const headers = {
  "x-ms-date": new Date().toUTCString(),
  "x-ms-version": "2021-08-06",
  "Content-Length": "0",
};
const canonical = ["x-ms-date", "x-ms-version"].map((name) => `${name}:${headers[name]}\n`).join("");
const resource = `/${account}/${account}/${container}\nrestype:container`;
const text = "PUT" + "\n".repeat(12) + canonical + resource;
const digest = crypto.createHmac("sha256", Buffer.from(key, "base64")).update(text).digest("base64");
headers.Authorization = `SharedKey ${account}:${digest}`;
const port = Number(process.env.AZURITE_PORT || 10000);
const path = `/${account}/${container}?restype=container`;
const request = http.request({ host: "127.0.0.1", port, path, method: "PUT", headers }, (answer) => {
  if (answer.statusCode !== 201) {
    console.error(`making the container: ${answer.statusCode}`);
    process.exitCode = 1;
  }
  answer.resume();
});
request.on("error", (cause) => {
  console.error(String(cause));
  process.exitCode = 1;
});
request.end();
