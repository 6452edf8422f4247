import { expect, it } from "vitest";
import { snapshot } from "./fixtures/snapshot";
import { families } from "./format";
import { pathNamed, pathsOf, progress } from "./paths";

it("puts the worst first", () => {
  expect(pathsOf(snapshot.paths, snapshot.tunnels).map((path) => path.state)).toEqual(["down", "held", "proving", "moved"]);
  const lossy = [{ ...snapshot.paths[0]!, loss_permille: 0 }, { ...snapshot.paths[0]!, loss_permille: 500 }];
  expect(pathsOf(lossy, []).map((path) => path.loss_permille)).toEqual([500, 0]);
});

it("tells how far a change has come and what holds it back", () => {
  const { wanted, from, moved, proving, held, down, total, reasons } = progress(snapshot.paths)!;
  expect([wanted, from, moved, proving, held, down, total]).toEqual(["vxlan", ["udp"], 1, 1, 1, 1, 4]);
  expect(reasons).toEqual([["vxlan: 9 echoes were sent and none came back", 1]]);
});

it("knows no change while all paths are where they should be", () => {
  expect(progress(snapshot.paths.filter((path) => path.state === "moved"))).toBeNull();
  expect(progress([])).toBeNull();
});

it("finds a path by its page's name", () => {
  expect(families(pathNamed(snapshot.paths, "10.123.31.0-24")!.public)).toEqual(["192.0.2.19"]);
  expect(pathNamed(snapshot.paths, "10.9.9.0-24")).toBeUndefined();
});
