// Addresses: every page has one, and search and order are part of it, so that what is seen can be sent to a colleague.

import { computed, signal } from "@preact/signals";

const address = signal(new URL(location.href));

/** The parts of the path: "/leases/10.1.2.0-24" is ["leases", "10.1.2.0-24"]. */
export const path = computed(() => address.value.pathname.split("/").filter(Boolean).map(decoded));

/** The text itself where somebody mistyped an escape. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The value of a search parameter, or "". */
export function parameter(name: string): string {
  return address.value.searchParams.get(name) ?? "";
}

/** Changes search parameters in place; "" removes one. */
export function setParameters(values: Record<string, string>): void {
  const next = new URL(address.value);
  for (const [name, value] of Object.entries(values)) value ? next.searchParams.set(name, value) : next.searchParams.delete(name);
  history.replaceState(null, "", next);
  address.value = next;
}

/** The address of a lease's page: a prefix without its slash, as flannel names its keys. */
export function leaseAddress(prefix: string | undefined): string {
  return `/leases/${encodeURIComponent((prefix ?? "").replace("/", "-"))}`;
}

/** The address of the page of the path to a peer. */
export function pathAddress(prefix: string | undefined): string {
  return `/paths/${encodeURIComponent((prefix ?? "").replace("/", "-"))}`;
}

export function pluginAddress(name: string): string {
  return `/plugins/${encodeURIComponent(name)}`;
}

/** Makes links within the dashboard change the page without loading it anew. */
export function followLinks(): void {
  addEventListener("popstate", () => (address.value = new URL(location.href)));
  addEventListener("click", (click) => {
    const anchor = click.target instanceof Element ? click.target.closest("a") : null;
    const plain = click.button === 0 && !click.metaKey && !click.ctrlKey && !click.shiftKey && !click.altKey;
    if (!anchor || !plain || anchor.origin !== location.origin || anchor.target || anchor.pathname.startsWith("/api/") || anchor.hash) return;
    click.preventDefault();
    history.pushState(null, "", anchor.href);
    address.value = new URL(anchor.href);
    scrollTo(0, 0);
    document.querySelector("main")?.focus({ preventScroll: true });
  });
}
