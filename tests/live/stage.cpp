// SPDX-License-Identifier: Apache-2.0
#include "stage.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace tcptrail::live {

Fd open_listener(const Stage& stage, Net net) {
    Fd listener = listen_on(net, kPort);
    stage.listening.give();
    return listener;
}

std::vector<Fd> accept_and_greet(int listener, int connections) {
    std::vector<Fd> fds;
    for (int i = 0; i < connections; ++i) {
        fds.push_back(accept_from(listener));
        put(fds.back().get(), 1);
    }
    return fds;
}

Fd dial_and_note(const Stage& stage, int i, Net net) {
    Fd fd = dial(net, kPort);
    get(fd.get(), 1);
    stage.note(i, fd.get());
    return fd;
}

std::vector<Fd> dial_all(const Stage& stage, int connections) {
    std::vector<Fd> fds;
    for (int i = 0; i < connections; ++i) {
        fds.push_back(dial_and_note(stage, i));
    }
    return fds;
}

pid_t fork_named(const char* comm, const std::function<void()>& body) {
    const pid_t pid = fork();
    if (pid < 0) {
        raise("fork");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, comm);
        alarm(60);
        try {
            body();
        } catch (const std::exception& error) {
            dprintf(STDERR_FILENO, "%s: %s\n", comm, error.what());
            _exit(1);
        }
        _exit(0);
    }
    return pid;
}

void wait_for(pid_t pid) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        throw std::runtime_error("a forked process of the scene failed");
    }
}

Tuple listener_tuple(Net net, std::uint16_t port) {
    Tuple tuple;
    tuple.v6 = net != Net::v4;
    const char* any = net == Net::v4 ? "127.0.0.1" : net == Net::v6 ? "::1" : "::";
    std::strncpy(tuple.laddr, any, sizeof tuple.laddr - 1);
    tuple.lport = port;
    return tuple;
}

Side listener_side(const Who& owner, const Who& closer, Net net) {
    return Side::listening(listener_tuple(net), owner, closer);
}

}  // namespace tcptrail::live
