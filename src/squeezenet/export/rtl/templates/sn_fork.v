// One stream to N readers. A beat is taken when all of them have it.
module sn_fork #(
    parameter N = 2
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    output wire [N-1:0] out_valid,
    input wire [N-1:0] out_ready
);
    reg [N-1:0] has;
    wire [N-1:0] done = has | out_ready;
    assign out_valid = {N{in_valid}} & ~has;
    assign in_ready = &done;
    always @(posedge clk)
        if (rst) has <= 0;
        else if (in_valid) has <= in_ready ? 0 : done;
endmodule
