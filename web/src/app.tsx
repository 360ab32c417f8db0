import AppLayout from "@cloudscape-design/components/app-layout";
import Box from "@cloudscape-design/components/box";
import SideNavigation from "@cloudscape-design/components/side-navigation";
import Spinner from "@cloudscape-design/components/spinner";
import TopNavigation from "@cloudscape-design/components/top-navigation";
import { Mode, applyMode } from "@cloudscape-design/global-styles";
import { Suspense, lazy, useCallback, useEffect, useState } from "react";
import { type Keys, type ServerInfo, exchangeCode, serverInfo } from "./api/client";
import { useDark, useRoute } from "./hooks";
import { Boundary } from "./parts/boundary";
import { SignIn } from "./pages/sign-in";
import { type Session, SessionContext, openSession, storeKeys, storedKeys } from "./session";

const Streams = lazy(() => import("./pages/streams"));
const Stream = lazy(() => import("./pages/stream"));
const Users = lazy(() => import("./pages/users"));
const User = lazy(() => import("./pages/user"));
const TryIt = lazy(() => import("./pages/try-it"));

export function App() {
  const [dark, setDark] = useDark();
  useEffect(() => applyMode(dark ? Mode.Dark : Mode.Light), [dark]);
  const [server, setServer] = useState<ServerInfo>();
  const [session, setSession] = useState<Session>();
  const [problem, setProblem] = useState<Error>();
  const [starting, setStarting] = useState(true);

  const signOut = useCallback(() => {
    storeKeys(undefined);
    setSession(undefined);
    location.hash = "";
  }, []);

  const signIn = useCallback(
    async (keys: Keys, keep: boolean, at?: ServerInfo) => {
      const info = at ?? server ?? (await serverInfo());
      const s = await openSession(keys, info, signOut);
      if (keep) storeKeys(keys);
      setSession(s);
    },
    [server, signOut],
  );

  useEffect(() => {
    void (async () => {
      try {
        const info = await serverInfo();
        setServer(info);
        // A link printed by "sluice demo" carries a code that works once.
        const code = /^#code=([0-9a-f]{32})$/.exec(location.hash)?.[1];
        if (code) {
          history.replaceState(null, "", location.pathname);
          await signIn(await exchangeCode(code), true, info);
        } else {
          const keys = storedKeys();
          if (keys) await signIn(keys, true, info);
        }
      } catch (e) {
        setProblem(e as Error);
      } finally {
        setStarting(false);
      }
    })();
    // Once, when the page opens.
  }, []);

  if (starting) {
    return (
      <Box textAlign="center" padding="xxxl">
        <Spinner size="large" />
      </Box>
    );
  }
  if (!session) return <SignIn problem={problem} onSignIn={signIn} />;
  return (
    <SessionContext.Provider value={session}>
      <Frame session={session} dark={dark} setDark={setDark} />
    </SessionContext.Provider>
  );
}

function Frame({ session, dark, setDark }: { session: Session; dark: boolean; setDark: (d: boolean) => void }) {
  const [route, go] = useRoute();
  const [navigation, setNavigation] = useState(innerWidth > 900);
  const [page, name] = route;
  const who = session.arn.split(/[:/]/).pop() ?? "";
  return (
    <>
      <div id="top" className="topbar">
        <TopNavigation
          identity={{ href: "#/streams", title: "Sluice" }}
          utilities={[
            {
              type: "button",
              text: dark ? "Light" : "Dark",
              ariaLabel: dark ? "Switch to the light theme" : "Switch to the dark theme",
              onClick: () => setDark(!dark),
            },
            {
              type: "menu-dropdown",
              text: who,
              description: session.arn,
              iconName: "user-profile",
              items: [
                { id: "region", text: `Region ${session.server.region}`, disabled: true },
                { id: "account", text: `Account ${session.server.account}`, disabled: true },
                { id: "version", text: `Sluice ${session.server.version}`, disabled: true },
                { id: "sign-out", text: "Sign out" },
              ],
              onItemClick: (e) => {
                if (e.detail.id === "sign-out") session.signOut();
              },
            },
          ]}
          i18nStrings={{ overflowMenuTriggerText: "More", overflowMenuTitleText: "All" }}
        />
      </div>
      <AppLayout
        headerSelector="#top"
        toolsHide
        navigationOpen={navigation}
        onNavigationChange={(e) => setNavigation(e.detail.open)}
        ariaLabels={{ navigation: "Pages", navigationClose: "Close the list of pages", navigationToggle: "Open the list of pages" }}
        navigation={
          <SideNavigation
            header={{ href: "#/streams", text: "Video streams" }}
            activeHref={page === "users" || page === "user" ? "#/users" : page === "try-it" ? "#/try-it" : "#/streams"}
            items={[
              { type: "link", text: "Streams", href: "#/streams" },
              { type: "link", text: "Try it", href: "#/try-it" },
              { type: "link", text: "Users", href: "#/users" },
              { type: "divider" },
              { type: "link", text: "Troubleshooting", href: "/console/docs/troubleshooting.html", external: true, externalIconAriaLabel: "Opens in a new tab" },
            ]}
          />
        }
        content={
          <Boundary key={page}>
            <Suspense fallback={<Spinner size="large" />}>
              {page === "stream" && name ? (
                <Stream key={name} name={name} tab={route[2]} go={go} />
              ) : page === "users" ? (
                <Users go={go} />
              ) : page === "user" && name ? (
                <User key={name} name={name} go={go} />
              ) : page === "try-it" ? (
                <TryIt key={name} stream={name} />
              ) : (
                <Streams go={go} />
              )}
            </Suspense>
          </Boundary>
        }
      />
    </>
  );
}
